"What `tensors` must refuse, and what it must take: the plumbing of chapter 00."
import math, subprocess, sys

import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from torch import nn, tensor

from mnist_from_scratch.tensors import check, show_image, show_images, show_pixels

ones = torch.ones(4)

@pytest.mark.parametrize('what, actual, expected, kwargs', [
    ('not finite', ones/0, ones/0, {}),
    ('not finite', ones*math.nan, ones*math.nan, {}),
    ('not finite', tensor([1., math.inf]), tensor([1., math.inf]), dict(tol=1e9)),
    ('not finite', math.nan, 1., {}),
    ('not finite', 1e300, 1e300, {}),                     # floats count as 32-bit, and this is infinite there
    ('differ', 1., math.inf, {}),
    ('differ', 1., math.nan, {}),
    ('shape', torch.ones(4, 1), ones, {}),
    ('shape', ones, torch.ones(4, 1), {}),
    ('shape', torch.ones(1), tensor(1.), {}),
    ('shape', torch.ones(1), 1., {}),
    ('shape', torch.zeros(0), torch.zeros(0, 3), {}),
    ('differ', tensor([5e-6]), tensor([-4e-6]), {}),
    ('differ', tensor(1.00000001, dtype=torch.double), tensor(1., dtype=torch.double), dict(tol=1e-12, atol=0)),
    ('differ', tensor([0], dtype=torch.uint8), tensor([255], dtype=torch.uint8), {}),
    ('differ', tensor([True]), tensor([False]), {}),
    ('differ', tensor(2**53), tensor(2**53 + 1), {}),
    ('differ', tensor(100_000), tensor(100_001), {}),     # whole numbers have no tolerance
    ('1 of 6 values differ', tensor([[1., 1., 1.], [1., 1., 9.]]), torch.ones(2, 3), {}),
    ('a list', [1., 1., 1., 1.], ones, {}),
    ('a list', [tensor([1.]), tensor([2.])], [1., 2.], {}),
    ('a ndarray', np.ones(4), ones, {}),
    ('a NoneType', None, ones, {}),
    ('a str', 'one', 1., {}),
    ('dtype', torch.ones(4, dtype=torch.int64), ones, {}),
    ('dtype', ones.double(), ones, {}),
    ('dtype', tensor(1), 1., {}),
])
def test_check_refuses(what, actual, expected, kwargs):
    with pytest.raises(AssertionError, match=what): check(actual, expected, **kwargs)

def test_check_passes_what_agrees():
    check(tensor(0.1), 0.1)
    check(0.1 + 0.2, 0.3)
    check(nn.Parameter(ones), ones)
    check(ones, ones*(1 + 5e-6)); check(tensor(0.), tensor(5e-7))
    check(ones.clone().requires_grad_(), ones)
    check(torch.zeros(0, 3), torch.zeros(0, 3))
    check(ones.bfloat16(), ones.bfloat16())
    check(tensor([1, 2]), tensor([1, 2])); check(ones > 0, ones > 0)
    check(torch.ones(2, 3).T, torch.ones(3, 2))

def test_shows_images_that_collect_gradients():
    assert show_image(torch.zeros(1, 28, 28, requires_grad=True)).images[0].get_array().shape == (28, 28)
    show_images(torch.zeros(2, 28, 28, requires_grad=True))
    plt.close('all')

def test_show_pixels_is_the_same_each_time():
    im = torch.arange(6).view(2, 3)
    assert show_pixels(im).to_html() == show_pixels(im.numpy()).to_html() == show_pixels(im).to_html()
    assert show_pixels(im).uuid != show_pixels(im + 1).uuid                   # two tables of a page must not share their colours
    assert '>C<' in show_pixels(pd.DataFrame({'C': [1.]})).to_html()          # a table keeps its names
    assert '0.33' in show_pixels(tensor([[1/3]])).to_html()
    assert '>2<' in show_pixels(im).to_html()

def test_a_title_for_each_image():
    im = torch.zeros(28, 28)
    for titles in (['a'], ['a', 'b', 'c'], []):
        with pytest.raises(ValueError): show_images([im, im], titles=titles)
    with pytest.raises(Exception): show_images([])
    with pytest.raises(ValueError): show_images([im]*10, titles=['a']*11)     # a row that is full
    show_images((im for _ in range(3)), titles=(o for o in 'abc'), ncols=2)
    assert [ax.get_title() for ax in plt.gcf().axes] == ['a', 'b', 'c', '']
    ax = plt.subplots()[1]; ax.set_title('mine')
    assert show_image(im, ax).get_title() == 'mine'                           # no title given takes none away
    plt.close('all')

def test_colour_and_pillow_images():
    assert show_image(np.zeros((5, 4, 3), dtype=np.uint8)).images[0].get_array().shape == (5, 4, 3)
    assert show_image(torch.zeros(1, 3)).images[0].get_array().shape == (1, 3)
    plt.close('all')

def test_imports_little():
    code = ('import sys, mnist_from_scratch.tensors; '
            "print([m for m in ('fastai', 'nbdev', 'IPython', 'sklearn', 'scipy', 'jupyter_core') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
