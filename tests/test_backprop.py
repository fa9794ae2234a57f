"Chapter 06: slopes of numbers, gradients of the hand-written layers for machine-drawn stacks, their memory, and what is refused."
import math
import weakref
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from mnist_from_scratch import backprop
from mnist_from_scratch.backprop import Lin, Model, Module, Mse, Relu, Value, gradient_report, lin, relu


def stack(sizes, seed=1, dtype=torch.float32):
    g, layers = torch.Generator().manual_seed(seed), []
    for n_in, n_out in zip(sizes, sizes[1:]):
        w = torch.randn(n_in, n_out, generator=g)*(2/n_in)**0.5
        layers += [Lin(w.to(dtype), (torch.randn(n_out, generator=g)/10).to(dtype)), Relu()]
    return Model(layers[:-1], Mse())


def batch(n, n_in, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_in, generator=g).to(dtype), torch.randn(n, generator=g).to(dtype)


class HastyRelu(Relu):
    def bwd(self, out, inp): inp.g = out.g


# Numbers that remember: any expression of a few operations has PyTorch's slopes

STEPS = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a*b, "/": lambda a, b: a/(b*b + 1),
    "2+": lambda a, b: 2 + a, "2-": lambda a, b: 2 - a, "3*": lambda a, b: 3*a, "/4": lambda a, b: a/4, "1/": lambda a, b: 1/(b*b + 1),
    "-1": lambda a, b: a - 1, "neg": lambda a, b: -b, "square": lambda a, b: a**2, "root": lambda a, b: (b*b + 1)**0.5, "2**": lambda a, b: 2**(a/(a*a + 1)),
    "**": lambda a, b: (a*a + 1)**(b/(b*b + 1)), "relu": lambda a, b: a.relu(), "exp": lambda a, b: (a/(a*a + 1)).exp(),
    "log": lambda a, b: (b*b + 1).log(), "tanh": lambda a, b: (a + b).tanh(),
}


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8),
       st.floats(-2, 2), st.floats(-2, 2))
def expressions(steps, x, y):
    def last(values):
        for name, i, j in steps: values.append(STEPS[name](values[i % len(values)], values[j % len(values)]))
        return values[-1] + 0*values[0] + 0*values[1]
    ours, theirs = [Value(x), Value(y)], [torch.tensor(o, dtype=torch.float64, requires_grad=True) for o in (x, y)]
    leaves = ours[:], theirs[:]
    result, expected = last(ours), last(theirs)
    if not abs(expected.item()) < 1e6: return
    result.backward(); expected.backward()
    assert result.data == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)
    for a, b in zip(*leaves): assert a.grad == pytest.approx(b.grad.item(), rel=1e-7, abs=1e-7)


def test_expressions(): expressions()


def test_a_wrong_slope_of_a_number_is_seen(monkeypatch):
    monkeypatch.setattr(Value, "tanh", lambda self: Value(math.tanh(self.data), ((self, 1.),)))
    with pytest.raises(AssertionError): expressions()


@pytest.mark.parametrize("f,slope", [(lambda a: a + a, 2), (lambda a: a*a, 6), (lambda a: a - a, 0), (lambda a: a/a, 0), (lambda a: (a*a)*(a*a), 108),
                                     (lambda a: a*a + (a*a)*a, 33), (lambda a: a, 1)])
def test_a_value_used_twice_counts_twice(f, slope):
    a = Value(3.)
    f(a).backward()
    assert a.grad == pytest.approx(slope)


def test_slopes_of_inputs_add_up_over_passes_and_those_between_do_not():
    a = Value(2.)
    b = a*a
    c = b*3
    c.backward(); c.backward()
    assert (a.grad, b.grad, c.grad) == (24., 3., 1.)
    b.backward()
    assert (a.grad, b.grad) == (28., 1.)


def test_a_long_chain_and_many_paths():
    a = v = Value(1.)
    for _ in range(100_000): v = v*1. + 0.
    v.backward()
    assert a.grad == 1.
    b = v = Value(1.)
    for _ in range(1000): v = (v + v)*0.5
    v.backward()
    assert b.grad == 1.


def test_whole_numbers():
    a = Value(2)
    (1/a + a**-1 + 2**a).backward()
    assert a.grad == pytest.approx(-0.5 + 4*math.log(2)) and (a/4).data == 0.5


@pytest.mark.parametrize("make", [lambda: Value(-1.)**0.5, lambda: Value(0.)**-1, lambda: 1/Value(0.), lambda: Value(-1.).log(),
                                  lambda: (-2)**Value(0.5), lambda: Value(1000.).exp(), lambda: Value(1.) + "1", lambda: Value(1.)*[2]])
def test_what_has_no_slope_is_loud(make):
    with pytest.raises((ValueError, OverflowError, TypeError)): make()


# Machine-drawn stacks: up to three hidden layers, batches from one image on

@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), n=st.integers(1, 7), seed=st.integers(0, 10_000))
def any_stack(sizes, n, seed):
    errors = gradient_report(stack([*sizes, 1], seed), *batch(n, sizes[0], seed))['largest error']
    assert not (errors > 1e-5).any(), errors


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=3), n=st.integers(1, 5), seed=st.integers(0, 10_000))
def in_double(sizes, n, seed):
    model, (x, targ) = stack([*sizes, 1], seed, torch.float64), batch(n, sizes[0], seed, torch.float64)
    slow = backprop._nudged(model, x, targ)
    model(x, targ); model.backward()
    for p, s in zip((*model.parameters(), x), slow): assert torch.allclose(p.g, s, rtol=1e-6, atol=1e-8)


def test_any_stack(): any_stack()
def test_any_stack_in_double_precision(): in_double()


@pytest.mark.parametrize('prove', [any_stack, in_double])
def test_the_proofs_see_a_wrong_gradient(prove, monkeypatch):
    monkeypatch.setattr(Relu, 'bwd', HastyRelu.bwd)
    with pytest.raises(AssertionError): prove()


def test_the_report_finds_the_layer():
    model, (x, targ) = stack([20, 6, 4, 1]), batch(8, 20)
    model.layers[3] = HastyRelu()
    errors = gradient_report(model, x, targ)['largest error']
    assert errors[['layer 4, w', 'layer 4, b']].max() < 1e-5
    assert errors[['layer 2, w', 'layer 2, b', 'layer 0, w', 'inputs']].min() > 0.01


def test_the_report_has_a_row_for_each_parameter_of_a_layer_of_layers():
    class Two(Module):
        def __init__(self, *layers): self.layers = layers
        def parameters(self): return [p for l in self.layers for p in l.parameters()]
        def forward(self, inp):
            for l in self.layers: inp = l(inp)
            self.last = inp
            return inp.clone()
        def bwd(self, out, inp):
            self.last.g = out.g
            for l in reversed(self.layers): l.backward()
    flat, (x, targ) = stack([5, 4, 3, 1]), batch(6, 5)
    report = gradient_report(Model([Two(*flat.layers[:3]), *flat.layers[3:]], Mse()), x, targ)
    assert len(report) == 7 and report['largest error'].max() < 1e-5


def test_the_report_leaves_the_model_and_the_inputs_alone():
    model, (x, targ) = stack([5, 4, 1]), batch(6, 5)
    before = [p.clone() for p in model.parameters()]
    gradient_report(model, x, targ)
    assert all(torch.equal(p, b) and p.dtype == b.dtype and not hasattr(p, 'g') for p, b in zip(model.parameters(), before))
    assert not hasattr(x, 'g') and not x.requires_grad


# What a pass remembers

def test_same_as_pytorch():
    model, (x, targ) = stack([20, 6, 1]), batch(8, 20)
    leaves = [p.clone().requires_grad_() for p in model.parameters()]
    loss = nn.functional.mse_loss(lin(relu(lin(x, *leaves[:2])), *leaves[2:])[:, 0], targ)
    loss.backward()
    assert torch.allclose(model(x, targ), loss)
    model.backward()
    for p, leaf in zip(model.parameters(), leaves): assert torch.allclose(p.g, leaf.grad, rtol=1e-4, atol=1e-6)


def test_predicting_between_forward_and_backward_changes_nothing():
    model, (x, targ) = stack([5, 4, 1]), batch(6, 5)
    model(x, targ); model.backward()
    expected = [p.g for p in model.parameters()]
    model(x, targ); model.predict(batch(3, 5, 9)[0]); model.backward()
    for p, e in zip(model.parameters(), expected): assert torch.equal(p.g, e)


def test_a_failed_forward_pass_leaves_nothing_to_go_back_from():
    model, (x, targ) = stack([5, 4, 1]), batch(6, 5)
    model(x, targ)
    with pytest.raises(ValueError): model(x, targ[:-1])
    with pytest.raises(Exception): model.backward()


@pytest.mark.parametrize('step', [stack([5, 1]), Relu(), Lin(torch.ones(2, 2), torch.ones(2)), Mse()])
def test_backward_without_forward_is_loud(step):
    with pytest.raises(Exception): step.backward()


def test_the_first_layer_may_leave_out_its_inputs():
    model, (x, targ) = stack([5, 4, 1]), batch(6, 5)
    model.layers[0].needs_input_grad = False
    model(x, targ); model.backward()
    assert not hasattr(x, 'g') and model.layers[0].w.g.shape == (5, 4)
    assert Lin(torch.ones(2, 2), torch.ones(2)).needs_input_grad


def test_gradients_have_the_shapes_of_what_they_belong_to():
    model, (x, targ) = stack([5, 4, 1]), batch(6, 5)
    model(x, targ); model.backward()
    for t in (*model.parameters(), x): assert t.g.shape == t.shape


# What must not pass in silence: broadcasts. The rest is loud by itself.

@pytest.mark.parametrize('inp,targ', [((6, 1), (6, 1)), ((6, 1), (1,)), ((6,), (6, 1)), ((6, 1), ()), ((6, 3), (3,)), ((6, 1), (5,))])
def test_mse_does_not_broadcast(inp, targ):
    with pytest.raises(ValueError, match='broadcast'): Mse()(torch.zeros(inp), torch.zeros(targ))


@pytest.mark.parametrize('shape', [(1, 1), (6, 1), (6,), (6, 3)])
def test_mse_gradient_in_any_shape_that_it_takes(shape):
    g = torch.Generator().manual_seed(0)
    inp = torch.randn(shape, generator=g)
    targ = torch.randn(inp.squeeze(-1).shape, generator=g)
    leaf = inp.clone().requires_grad_()
    (leaf.squeeze(-1) - targ).pow(2).mean().backward()
    loss = Mse()
    loss(inp, targ); loss.backward()
    assert torch.allclose(inp.g, leaf.grad)


@pytest.mark.parametrize('make', [
    lambda x, targ: stack([5, 1])(x[:, :3], targ),                     # inputs of another width
    lambda x, targ: stack([5, 1])(x[0], targ),                         # one image without an axis
    lambda x, targ: stack([5, 1])(x.double(), targ.double()),          # another precision
    lambda x, targ: stack([5, 1])((x*9).long(), targ),                 # whole numbers
    lambda x, targ: Model([Lin(torch.ones(5, 4), torch.ones(3))], Mse())(x, targ),       # a bias of another length
    lambda x, targ: Model([Lin(torch.ones(5, 4), torch.ones(4))], Mse())(x, targ),       # four outputs for a loss of one
])
def test_other_wrong_inputs_are_loud(make):
    with pytest.raises((RuntimeError, ValueError)): make(*batch(6, 5))


def test_a_layer_of_pytorch_is_loud_in_a_model():
    x, targ = batch(6, 5)
    model = Model([*stack([5, 1]).layers, nn.ReLU()], Mse())
    with pytest.raises(Exception):
        model(x, targ); model.backward()


def test_module_says_what_is_missing():
    with pytest.raises(NotImplementedError, match='forward'): Module()(torch.ones(1))
    class Half(Module):
        def forward(self, x): return x
    half = Half(); half(torch.ones(1))
    with pytest.raises(NotImplementedError, match='bwd'): half.backward()
    assert Module().parameters() == []


# Memory: nothing but the results is made for the weights' gradient

class PeakMemory(TorchDispatchMode):
    "Within `with`, count the bytes of the tensors that are made, and the most that live at once."
    def __init__(self):
        super().__init__()
        self.now, self.peak, self.known = 0, 0, set()

    def gone(self, place, n): self.now -= n; self.known.discard(place)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if torch.is_tensor(out):
            memory = out.untyped_storage()
            place, n = memory.data_ptr(), memory.nbytes()
            if place not in self.known | {a.untyped_storage().data_ptr() for a in args if torch.is_tensor(a)}:
                self.known.add(place)
                self.now += n; self.peak = max(self.peak, self.now)
                weakref.finalize(out, self.gone, place, n)
        return out


def peak(f):
    with PeakMemory() as memory: f()
    return memory.peak


def test_peak_memory_counts():
    x = torch.ones(1000)
    assert peak(lambda: (x*2).sum()) == 4*1000 + 4
    assert peak(lambda: ((x*2).sum(), (x*3).sum())) == 4*1000 + 2*4      # the first table is gone by then


@pytest.mark.parametrize('n', [500, 2000])
def test_memory_of_the_products(n):
    x, g = torch.randn(n, 784), torch.randn(n, 50)
    result = 784*50*4
    assert peak(lambda: (x.unsqueeze(-1)*g.unsqueeze(1)).sum(0)) >= n*result
    assert peak(lambda: x.T @ g) == peak(lambda: (g.T @ x).T) == result
    assert peak(lambda: torch.einsum('ni,nj->ij', x, g)) == result
    def in_chunks():
        total = torch.zeros(784, 50)
        for xc, gc in zip(x.split(100), g.split(100)): total.addmm_(xc.T, gc)
        return total
    assert peak(in_chunks) == result
    assert torch.allclose(in_chunks(), x.T @ g, rtol=1e-3, atol=1e-2)


def test_memory_of_a_backward_pass_grows_with_the_batch_only():
    def of(n):
        model, (x, targ) = stack([784, 50, 1]), batch(n, 784)
        model.layers[0].needs_input_grad = False
        return peak(lambda: (model(x, targ), model.backward()))
    small, large = of(1000), of(4000)
    assert large < 4*small and large < 4000*50*4*6


def test_the_report_of_a_model_that_gives_its_inputs_no_gradient():
    g = torch.Generator().manual_seed(1)
    first = Lin(torch.randn(4, 3, generator=g), torch.zeros(3))
    first.needs_input_grad = False
    model = Model([first, Relu(), Lin(torch.randn(3, 1, generator=g), torch.zeros(1))], Mse())
    report = gradient_report(model, torch.randn(5, 4, generator=g), torch.randn(5, generator=g))
    assert report["largest error"].max() < 1e-5 and not first.needs_input_grad
