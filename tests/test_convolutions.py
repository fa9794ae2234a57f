"The layers built by hand against PyTorch's: values, gradients, odd sizes, and the network's shape."
import pytest, torch, torch.nn.functional as F
from torch import nn

from mnist_from_scratch.convolutions import BatchNorm, conv, conv_net, layer_table, max_pool
from mnist_from_scratch.sgd import numerical_gradient
from mnist_from_scratch.tensors import check


def numbers(*shape, seed=0): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('c_in, c_out, k, s, p, n', [
    (3, 5, 3, 1, 1, 9), (2, 4, 5, 3, 2, 13), (1, 1, 1, 1, 0, 4), (4, 2, 4, 2, 0, 11)])
def test_conv(c_in, c_out, k, s, p, n):
    torch.manual_seed(0)
    layer,x = nn.Conv2d(c_in, c_out, k, s, p),numbers(3, c_in, n, n + 1)
    check(conv(x, layer.weight, layer.bias, s, p).detach(), layer(x).detach(), atol=1e-5)


def test_slope_of_conv():
    torch.manual_seed(0)
    layer,x = nn.Conv2d(2, 3, 3, 2, 1).double(),numbers(2, 2, 5, 5).double()
    w = layer.weight.detach().clone().requires_grad_()
    conv(x, w, layer.bias, 2, 1).pow(2).sum().backward()
    check(w.grad, numerical_gradient(lambda w: F.conv2d(x, w, layer.bias, 2, 1).pow(2).sum(), w), tol=1e-4)


@pytest.mark.parametrize('shape', [(2, 3, 8, 8), (2, 3, 7, 9), (1, 1, 2, 2), (1, 2, 3, 2)])
def test_max_pool(shape):
    x = numbers(*shape)
    check(max_pool(x), F.max_pool2d(x, 2))
    check(max_pool(x.to(memory_format=torch.channels_last)), nn.MaxPool2d(2)(x))


@pytest.mark.parametrize('shape', [(8, 5, 6, 6), (2, 5, 2, 1)])
def test_batch_norm_and_its_gradients(shape):
    def grads(m):
        x = numbers(*shape).requires_grad_()
        out = m(x)
        (out**3).mean().backward()
        return out.detach(), x.grad, m.weight.grad, m.bias.grad
    mine,theirs = BatchNorm(5),nn.BatchNorm2d(5)
    for _ in range(3):
        for m in (mine, theirs): m.zero_grad()
        for a,b in zip(grads(mine), grads(theirs)): check(a, b, tol=1e-4, atol=1e-5)
        check(mine.running_mean, theirs.running_mean); check(mine.running_var, theirs.running_var)
    x = numbers(*shape, seed=1)
    check(mine.eval()(x).detach(), theirs.eval()(x).detach(), atol=1e-5)
    assert set(mine.state_dict()) <= set(theirs.state_dict())


@pytest.mark.parametrize('n_out', [1, 2, 10, 26])
def test_conv_net(n_out):
    torch.manual_seed(0)
    net = conv_net(n_out)
    x = torch.rand(3, 28, 28)
    assert net(x).shape == (3, n_out) and list(net.children())[1].unflattened_size == (1, 28)
    table = layer_table(net.eval(), x[:1])
    assert table['parameters'].sum() == sum(p.numel() for p in net.parameters())


def test_numbers_of_conv_net():
    table = layer_table(conv_net().eval(), torch.rand(1, 28, 28))
    assert (table['parameters'].sum(), table['products'].sum()) == (104_906, 7_393_664)


def test_bias_before_normalisation_would_not_learn():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4))
    (net(torch.rand(8, 1, 10, 10))**3).mean().backward()
    assert net[0].bias.grad.abs().max() < 1e-6 < 1e-4 < net[0].weight.grad.abs().max()


def test_integer_pixels_are_refused():
    with pytest.raises((ValueError, RuntimeError)): conv_net()(torch.zeros(2, 28, 28, dtype=torch.uint8))
