"What `sgd` must refuse and must leave alone: the plumbing of chapter 02."
import base64, io, re, subprocess, sys

import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import tensor

from mnist_from_scratch.sgd import *
from mnist_from_scratch.tensors import check

def test_numerical_gradient():
    check(numerical_gradient(torch.sin, tensor(1.)), tensor(1., dtype=torch.float64).cos(), tol=1e-9)
    x = tensor([[1., 2.], [3., 4.]])
    check(numerical_gradient(lambda v: (v**2).sum(), x.T), 2*x.T.double())         # not contiguous
    check(numerical_gradient(lambda v: (v**2).sum(), x.clone().requires_grad_()), 2*x.double())
    assert numerical_gradient(lambda v: v.sum(), torch.zeros(0)).shape == (0,)

@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6))
def test_numerical_gradient_is_autograd(numbers):
    def f(v): return (v.sin()*v).sum() + v.prod()
    x = tensor(numbers, dtype=torch.float64)
    check(numerical_gradient(f, x), torch.autograd.functional.jacobian(f, x), tol=1e-6, atol=1e-7)

def test_gradient_descent_leaves_its_start_alone():
    start = tensor(-1.)
    down = gradient_descent(lambda x: x**2, start, 0.1)
    check(start, tensor(-1.)); assert start.grad is None and not start.requires_grad
    assert down.params.shape == down.losses.shape == (101,) and not down.losses.requires_grad
    start = tensor([1., 2.]).requires_grad_()
    gradient_descent(lambda x: (x**2).sum(), start, 0.1, 3)
    assert start.grad is None

def test_gradient_descent_is_that_of_pytorch():
    for f in (lambda x: (x**4).sum(), lambda x: (x.exp() - x).sum()):
        down = gradient_descent(f, tensor([0.5, -0.5]), 0.05, 20)
        p = tensor([0.5, -0.5], requires_grad=True)
        opt = torch.optim.SGD([p], 0.05)
        for _ in range(20): opt.zero_grad(); f(p).backward(); opt.step()
        check(down.params[-1], p.detach()); check(down.losses[-1], f(p.detach()))
    assert gradient_descent(f, p, 0.1, steps=0).params.shape == (1, 2)
    assert gradient_descent(lambda x: (x**2).sum(0, keepdim=True), p, 0.1, 3).losses.shape == (4,)

def test_a_loss_is_a_single_number():
    with pytest.raises(RuntimeError, match='scalar'): gradient_descent(lambda x: x**2, tensor([1., 2.]), 0.1)
    with pytest.raises(AttributeError): gradient_descent(lambda x: 1., tensor(1.), 0.1)
    with pytest.raises(RuntimeError): gradient_descent(lambda x: x**2, tensor(1.), 0.1, steps=-1)
    with pytest.raises(RuntimeError): gradient_descent(lambda x: x**2, tensor(1), 0.1)      # whole numbers have no slope

def test_mse_does_not_broadcast():
    check(mse(tensor([1., 3.]), tensor([1., 1.])), tensor(2.))
    for a,b in ((torch.ones(4, 1), torch.ones(4)), (torch.ones(4), torch.ones(4, 1)), (torch.ones(()), torch.ones(1))):
        with pytest.raises(ValueError, match='expected the same'): mse(a, b)
        with pytest.raises(ValueError, match='do not broadcast'): same_shape(a, b)

def test_plots():
    ax = plot_function(lambda x: x**2, -1, 3, ylabel='x²', color='red')
    assert ax.lines[0].get_xdata()[[0, -1]].tolist() == [-1, 3] and ax.get_ylabel() == 'x²'
    assert plot_function(torch.sin, ax=ax) is ax and len(ax.lines) == 2
    plt.close('all')

def film(path, predict, x, y, **kwargs):
    "The page of `animate_fit`, the film in it, and the still picture for those who want no motion."
    page = animate_fit(path, predict, x, y, **kwargs).data
    still,moving = (Image.open(io.BytesIO(base64.b64decode(o))) for o in re.findall('base64,([^"]*)', page))
    return page,moving,still

def test_animation():
    pytest.importorskip('IPython')
    path,x = torch.linspace(0, 3, 8).view(4, 2),torch.linspace(-1, 1, 5)
    def predict(a): return a[0]*x + a[1]
    page,moving,still = film(path, predict, x, x**2, every=2)
    assert not plt.get_fignums()                         # the figure is not shown a second time
    assert (moving.format, still.format, moving.size) == ('GIF', 'PNG', still.size)
    assert moving.n_frames == 3                          # steps 0 and 2, and always the last
    assert film(path, predict, x, x**2)[1].n_frames == 4
    assert page == film(path, predict, x, x**2, every=2)[0] and 'prefers-reduced-motion' in page and '<script' not in page
    assert film(path[:1], predict, x, x**2)[1].n_frames == 1

def test_the_animation_asks_no_other_host():
    pytest.importorskip('IPython')
    path,x = torch.linspace(0, 3, 82).view(41, 2),torch.linspace(-1, 1, 100)
    page,moving,_ = film(path, lambda a: a[0]*x + a[1], x, x**2, every=2)
    assert not re.search(r'https?:|//[a-z]|<link|@import|url\(', re.sub('base64,[^"]*', '', page))
    assert moving.n_frames == 21 and page.count('alt="') == 1 and len(page) < 400_000

def test_imports_little():
    code = ('import sys, mnist_from_scratch.sgd; '
            "print([m for m in ('fastai', 'nbdev', 'IPython', 'sklearn', 'scipy', 'jupyter_core') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
