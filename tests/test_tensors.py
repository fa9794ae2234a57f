"What `tensors` must refuse, and what it must take: the plumbing of chapter 00."
import math, subprocess, sys

import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from torch import tensor

from mnist_from_scratch.tensors import check, show_image, show_images, show_pixels

ones = torch.ones(4)

@pytest.mark.parametrize('what, actual, expected, kwargs', [
    ('not finite', ones/0, ones/0, {}),
    ('not finite', ones*math.nan, ones*math.nan, {}),
    ('not finite', math.nan, 1., {}),
    ('not finite', 1., math.inf, {}),
    ('shape', [tensor([1.]), tensor([2.])], [1., 2.], {}),
    ('shape', torch.ones(4, 1), ones, {}),
    ('shape', torch.ones(1), tensor(1.), {}),
    ('differ', tensor([5e-6]), tensor([-4e-6]), {}),
    ('differ', 1.00000001, 1., dict(tol=1e-12, atol=0)),
    ('differ', ones, ones, dict(tol=math.nan)),
    ('differ', tensor([0], dtype=torch.uint8), tensor([255], dtype=torch.uint8), {}),
    ('differ', tensor([True]), tensor([False]), {}),
    ('differ', 2**53, 2**53 + 1, {}),
    (r'1 of 6 differ, first at \[1, 2\]: 9.0, expected 1.0', tensor([[1., 1., 1.], [1., 1., 9.]]), torch.ones(2, 3), {}),
    ('a float, not a tensor', 1., tensor(1.), {}),
    ('a list, not a tensor', [1., 1., 1., 1.], ones, {}),
    ('a NoneType, not a tensor', None, ones, {}),
    ('dtype', torch.ones(4, dtype=torch.int64), ones, {}),
    ('dtype', ones.double(), ones, {}),
    ('dtype', [tensor(1.).double()], [tensor(1.)], {}),
    ('dtype', 1, 1., {}),
])
def test_check_refuses(what, actual, expected, kwargs):
    with pytest.raises(AssertionError, match=what): check(actual, expected, **kwargs)

def test_check_takes_no_other_things():
    for actual in ([[1, 2], [3]], 'one', None, object()):
        with pytest.raises((AssertionError, TypeError, ValueError)): check(actual, 1.)

def test_check_passes_what_agrees():
    check(1e300, 1e300)
    check(np.ones(3), np.ones(3))
    check(tensor([1+1j]), tensor([1+1.000001j]))
    check(ones.clone().requires_grad_(), ones)
    check(torch.zeros(0, 3), torch.zeros(0, 3))
    check(tensor(0.1), 0.1)                               # Python's floats take the tensor's precision
    check([tensor([1.]), tensor([2.])], [[1.], [2.]])
    check(ones.bfloat16(), ones.bfloat16())

def test_shows_images_that_collect_gradients():
    im = torch.rand(28, 28)
    assert show_pixels(im.clone().requires_grad_()).to_html() == show_pixels(im).to_html()
    assert show_image(torch.zeros(1, 28, 28, requires_grad=True)).images[0].get_array().shape == (28, 28)
    show_images(torch.zeros(2, 28, 28, requires_grad=True))
    plt.close('all')

def test_show_pixels_is_the_same_each_time():
    im = torch.arange(6).view(2, 3)
    assert show_pixels(im).to_html() == show_pixels(im.numpy()).to_html() == show_pixels(im).to_html()
    assert show_pixels(im).to_html() != show_pixels(im + 1).to_html()
    assert '>C<' in show_pixels(pd.DataFrame({'C': [1.]})).to_html()          # a table keeps its names
    assert '0.33' in show_pixels(tensor([[1/3]])).to_html()

def test_a_title_for_each_image():
    im = torch.zeros(28, 28)
    for titles in (['a'], ['a', 'b', 'c'], []):
        with pytest.raises(ValueError): show_images([im, im], titles=titles)
    with pytest.raises(Exception): show_images([])
    with pytest.raises(ValueError): show_images([im]*10, titles=['a']*11)     # a row that is full
    show_images((im for _ in range(3)), titles=(o for o in 'abc'), ncols=2)
    assert [ax.get_title() for ax in plt.gcf().axes] == ['a', 'b', 'c', '']
    plt.close('all')

def test_colour_and_pillow_images():
    assert show_image(np.zeros((5, 4, 3), dtype=np.uint8)).images[0].get_array().shape == (5, 4, 3)
    assert show_image(torch.zeros(1, 3)).images[0].get_array().shape == (1, 3)
    plt.close('all')

def test_imports_little():
    code = ('import sys, mnist_from_scratch.tensors; '
            "print([m for m in ('fastai', 'nbdev', 'IPython', 'sklearn', 'scipy', 'jupyter_core') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
