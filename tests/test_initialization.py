"Chapter 07: the distribution of the first weights, and what the table of activations counts."
from functools import partial
import pytest
import torch
from torch import nn, tensor
from mnist_from_scratch.backprop import Lin, Relu, lin, relu
from mnist_from_scratch.initialization import activation_stats, init_kaiming

Q = torch.linspace(0.001, 0.999, 101)


def quantiles(t, n_in): return t.flatten()[:100_000].quantile(Q)*(n_in/2)**0.5


def test_kaiming_is_normal_as_pytorchs():
    g = torch.Generator().manual_seed(1)
    ours = init_kaiming((784, 500), g)
    theirs = nn.init.kaiming_normal_(torch.empty(500, 784), generator=g)
    assert torch.allclose(quantiles(ours, 784), quantiles(theirs, 784), rtol=0.02, atol=0.05)
    assert torch.allclose(quantiles(ours, 784), torch.special.ndtri(Q), rtol=0.02, atol=0.05)
    assert abs(ours.mean()) < 3e-4 and ours.std().item() == pytest.approx((2/784)**0.5, rel=0.01)


@pytest.mark.parametrize('size', [(784, 30), (30, 1), (1, 5), (100, 2000)])
def test_kaiming_goes_by_the_number_of_inputs(size):
    g = torch.Generator().manual_seed(2)
    many = torch.stack([init_kaiming(size, g) for _ in range(200)])
    assert many.shape[1:] == size and many.std().item() == pytest.approx((2/size[0])**0.5, rel=0.1)


@pytest.mark.parametrize('a', [0., 0.1, 1., 5**0.5])
@pytest.mark.parametrize('mode', ['fan_in', 'fan_out'])
def test_kaiming_has_pytorchs_formula(a, mode):
    g = torch.Generator().manual_seed(3)
    ours = init_kaiming((400, 900), g, a=a, mode=mode)
    theirs = nn.init.kaiming_normal_(torch.empty(900, 400), a=a, mode=mode, generator=g)
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.01)
    assert ours.std().item() == pytest.approx((2/((1 + a*a)*dict(fan_in=400, fan_out=900)[mode]))**0.5, rel=0.01)


def test_kaiming_refuses_a_mode_that_is_none():
    with pytest.raises(KeyError, match='fanout'): init_kaiming((4, 3), mode='fanout')


def test_kaiming_is_made_by_its_generator():
    a, b = (init_kaiming((784, 30), torch.Generator().manual_seed(0)) for _ in '12')
    assert torch.equal(a, b)
    torch.manual_seed(3); c = init_kaiming((4, 3))
    torch.manual_seed(3); d = init_kaiming((4, 3))
    assert torch.equal(c, d)


def test_stats_of_a_known_stack():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(tensor([[1., 0.], [0., 1.], [-1., -1.]])); net[0].bias.zero_()
    stats = activation_stats(net, tensor([[1., 0.], [3., 2.]]))
    assert stats['layer'].tolist() == ['Linear', 'ReLU']
    assert stats['dead'].tolist() == pytest.approx([0, 1/3])          # a unit that is 0 for one image only is not dead
    after = tensor([[1., 0., 0.], [3., 2., 0.]])
    assert stats['mean'][1] == pytest.approx(after.mean().item()) and stats['std'][1] == pytest.approx(after.std().item())


def test_stats_of_functions_and_of_chapter_06s_layers():
    x, w = torch.rand(9, 784), init_kaiming((784, 50), torch.Generator().manual_seed(1))
    b = torch.zeros(50)
    a = activation_stats([partial(lin, w=w, b=b), relu], x)
    c = activation_stats([Lin(w, b), Relu()], x)
    assert a['layer'].tolist() == ['partial', 'relu'] and c['layer'].tolist() == ['Lin', 'Relu']
    for k in ('mean', 'std', 'dead'): assert a[k].tolist() == pytest.approx(c[k].tolist(), rel=1e-4, abs=1e-6)


def test_stats_record_no_gradient():
    net = nn.Sequential(nn.Linear(4, 2))
    activation_stats(net, torch.rand(3, 4))
    assert all(p.grad is None for p in net.parameters()) and torch.is_grad_enabled()


class Around(nn.Module):
    "Some layers, and a way around them."
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x): return x + self.layers(x)


def hooks(net): return sum(len(o._forward_hooks) for o in net.modules())


def test_stats_look_inside_what_is_no_list():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 3), Around(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 1))
    x = torch.rand(9, 4)
    stats = activation_stats(net, x)
    assert stats['layer'].tolist() == ['Linear', 'Linear', 'ReLU', 'Linear']
    assert stats['mean'].iloc[-1] == pytest.approx(net(x).mean().item())
    assert hooks(net) == 0


def test_stats_by_hooks_are_those_of_a_walk():
    torch.manual_seed(1)
    net,x = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)),torch.rand(9, 5)
    a,b = activation_stats(net, x),activation_stats(list(net), x)
    assert a['layer'].tolist() == b['layer'].tolist()
    for k in ('mean', 'std', 'size', 'dead'): assert a[k].tolist() == pytest.approx(b[k].tolist())
    assert a['size'][1] == pytest.approx(net[:2](x).pow(2).mean().sqrt().item())


def test_stats_take_their_hooks_out_after_an_error():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(2, 1))
    with pytest.raises(RuntimeError): activation_stats(net, torch.rand(3, 4))
    assert hooks(net) == 0


def test_stats_leave_other_hooks_alone():
    net,seen = nn.Sequential(nn.Linear(4, 3)),[]
    net[0].register_forward_hook(lambda *args: seen.append(1))
    activation_stats(net, torch.rand(3, 4))
    assert hooks(net) == 1 and len(seen) == 1
