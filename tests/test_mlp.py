"Chapter 04: what its network, its pixels and its rung do beyond the examples on the page."
import importlib
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn, tensor
from mnist_from_scratch import mlp
from mnist_from_scratch.data import load_mnist
from mnist_from_scratch.mlp import Normalize, fit_mlp, show_units, simple_net


def images(digits):
    data = load_mnist(digits, 'embedded')
    return [(x.float()/255, y) for x, y in (data.train, data.valid)]


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), mean=st.floats(-3, 3), std=st.floats(0.1, 5))
def test_normalize_any_shape(shape, mean, std):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    out = Normalize(mean, std)(x)
    assert out.shape == x.shape
    assert torch.allclose(out*std + mean, x, atol=1e-5)


def test_normalize_takes_mnist_by_default():
    assert torch.allclose(Normalize()(tensor([0.1307, 0.1307 + 0.3081])), tensor([0., 1.]), atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.bool])
def test_normalize_refuses_whole_numbers(dtype):
    with pytest.raises(ValueError, match=f'{dtype}.*divide by 255'): Normalize()(torch.ones(2, 28, 28, dtype=dtype))


def test_normalize_keeps_double_precision():
    assert Normalize()(torch.ones(2, dtype=torch.float64)).dtype == torch.float64


def test_simple_net_start():
    net = simple_net(seed=1)
    assert [type(o) for o in net] == [nn.Linear, nn.ReLU, nn.Linear]
    assert sum(p.numel() for p in net.parameters()) == 23_581
    assert not net[0].bias.any() and not net[2].bias.any()
    wide = simple_net(784, 1000, 1000, seed=2)
    for layer in (wide[0], wide[2]):
        assert layer.weight.std().item() == pytest.approx((2/layer.in_features)**0.5, rel=0.01)
        assert abs(layer.weight.mean().item()) < 1e-3


def test_simple_net_seed():
    a, b, c = (simple_net(seed=s)[0].weight for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    torch.manual_seed(3); d = simple_net()[0].weight
    torch.manual_seed(3); e = simple_net()[0].weight
    assert torch.equal(d, e)
    assert simple_net(20, 5, 3)(torch.rand(4, 20)).shape == (4, 3)


def test_fit_mlp_two_labels():
    (x, y), (vx, vy) = images((3, 7))
    scores, n = fit_mlp(x, y, 20, 1)
    out = scores(vx)
    assert n == 23_581 and out.shape == (len(vx), 2)
    assert torch.equal(out[:, 0], -out[:, 1])
    assert (tensor([3, 7])[out.argmax(1)] == vy).float().mean() > 0.95


def test_fit_mlp_more_labels():
    (x, y), (vx, vy) = images((1, 4, 8))
    scores, n = fit_mlp(x, y, 20, 1)
    out = scores(vx)
    assert n == 784*30 + 30 + 30*3 + 3 and out.shape == (len(vx), 3)
    assert (tensor([1, 4, 8])[out.argmax(1)] == vy).float().mean() > 0.9


@pytest.mark.parametrize('digits, kinds', [((3, 7), [nn.Linear, nn.ReLU, nn.Linear, nn.Linear]), ((1, 4, 8), [nn.Linear, nn.ReLU, nn.Linear])])
def test_fit_mlp_gives_a_finished_module(digits, kinds):
    x, y = images(digits)[0]
    scores, n = fit_mlp(x, y, 1, 1)
    assert isinstance(scores, nn.Module) and not any(o.training for o in scores.modules())
    assert [type(o) for o in scores] == [Normalize, nn.Flatten, *kinds]
    assert n == sum(p.numel() for p in scores.parameters() if p.requires_grad)
    if len(digits) == 2: assert scores[-1].weight.tolist() == [[1.], [-1.]] and scores[-1].bias is None


def test_finished_shares_the_layers_of_the_model():
    x, y = images((3, 7))[0]
    model, targs, _, finished = mlp._mlp(x, y, 1)
    scores = finished(model)
    with torch.no_grad(): model[-1].bias += 1
    z = model(x[:5])
    assert targs.shape == (len(x), 1) and torch.equal(scores(x[:5]), torch.cat([z, -z], 1))


def test_fit_mlp_labels_may_be_any_numbers():
    (x, y), (vx, _) = images((3, 7))
    plain = fit_mlp(x, y, 2, 1)[0](vx)
    other = fit_mlp(x, torch.where(y == 3, -5, 1000), 2, 1)[0](vx)
    swapped = fit_mlp(x, torch.where(y == 3, 9, 2), 20, 1)[0](vx)
    assert torch.equal(plain, other)
    assert (swapped.argmax(1) != fit_mlp(x, y, 20, 1)[0](vx).argmax(1)).float().mean() > 0.9


def test_fit_mlp_is_made_by_its_seed():
    (x, y), (vx, _) = images((3, 7))
    a, b, c = (fit_mlp(x, y, 1, seed)[0](vx) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize('n_out', [1, 3])
def test_show_units_sorts_by_the_votes(n_out, monkeypatch):
    shown = []
    monkeypatch.setattr(mlp, 'show_images', lambda ims, titles, ncols, **kw: shown.append((ims, titles, ncols)))
    net = simple_net(16, 5, n_out, seed=1)
    show_units(nn.Sequential(Normalize(), nn.Flatten(), *net), output=n_out - 1, ncols=7)
    (pictures, titles, ncols), = shown
    votes = net[2].weight[n_out - 1].detach()
    assert pictures.shape == (5, 4, 4) and ncols == 7
    assert titles == [f'{v:.2f}' for v in votes.sort(descending=True).values]
    assert torch.equal(pictures[0].flatten(), net[0].weight[votes.argmax()])


def test_show_units_draws():
    import matplotlib; matplotlib.use('Agg')
    show_units(simple_net(seed=1))


NEW = dict(relu='backprop', lin='backprop', Module='backprop', Relu='backprop', Lin='backprop', Mse='backprop', Model='backprop',
           gradient_report='backprop', init_kaiming='initialization', activation_stats='initialization')

@pytest.mark.parametrize('name', NEW)
def test_old_names_say_where_they_are(name):
    with pytest.raises(ImportError, match=f'from mnist_from_scratch.{NEW[name]} import {name}'): getattr(mlp, name)
    assert hasattr(importlib.import_module(f'mnist_from_scratch.{NEW[name]}'), name)


def test_unknown_names_stay_unknown():
    with pytest.raises(AttributeError, match='no_such_thing'): mlp.no_such_thing
    with pytest.raises(ImportError): exec('from mnist_from_scratch.mlp import no_such_thing')
