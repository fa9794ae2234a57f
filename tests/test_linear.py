"What `linear` must refuse, its loader beside PyTorch's, and who decides about threads: the plumbing of chapter 03."
import math, os, subprocess, sys

import joblib, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn, tensor
from torch.utils.data import DataLoader as TorchLoader, TensorDataset as TorchDataset, default_collate

from mnist_from_scratch import linear
from mnist_from_scratch.linear import *
from mnist_from_scratch.linear import TensorDataset
from mnist_from_scratch.sgd import numerical_gradient
from mnist_from_scratch.tensors import check

def generator(seed=42): return torch.Generator().manual_seed(seed)

# --- parameters, losses, metrics

def test_init_params():
    p = init_params((3000,), std=0.5, generator=generator(0))
    assert p.requires_grad and p.is_leaf and abs(p.std().item() - 0.5) < 0.03
    check(p.detach(), torch.randn(3000, generator=generator(0))*0.5)

def test_sigmoid_does_not_overflow():
    z = tensor([-100., 0., 100.], requires_grad=True)
    sigmoid(z).sum().backward()
    check(z.grad, tensor([0., 0.25, 0.]))
    z = torch.linspace(-6, 6, 25)
    check(sigmoid(z), z.sigmoid())

def test_mnist_loss():
    check(mnist_loss(tensor([2., -1., 0.5]), tensor([1., 0., 0.])), (1 - tensor(2.).sigmoid() + tensor(-1.).sigmoid() + tensor(0.5).sigmoid())/3)
    with pytest.raises(ValueError, match='do not broadcast'): mnist_loss(torch.zeros(4, 1), torch.zeros(4))
    v,t = torch.randn(6, generator=generator()).double().requires_grad_(),tensor([1., 0., 1., 1., 0., 0.]).double()
    mnist_loss(v, t).backward()
    check(v.grad, numerical_gradient(lambda v: mnist_loss(v, t), v))

def test_batch_accuracy():
    check(batch_accuracy(tensor([2., -1., 0.5, -3.]), tensor([1., 0., 0., 1.])), tensor(0.5))
    with pytest.raises(ValueError, match='do not broadcast'): batch_accuracy(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match='NaN'): batch_accuracy(tensor([1., math.nan]), tensor([1., 0.]))

# --- the loader

def same(a, b):
    "Are two batches equal, whatever they are made of?"
    if type(a) != type(b): return False
    if torch.is_tensor(a): return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a == b

kinds = {'tensors': lambda n: TensorDataset(torch.arange(n*3).view(n, 3).float(), torch.arange(n)),
         'tuples': lambda n: [(torch.full((2,), float(i)), i) for i in range(n)],
         'dicts': lambda n: [{'image': torch.eye(2)*i, 'name': f'no. {i}'} for i in range(n)],
         'numbers': lambda n: list(range(n)), 'nested': lambda n: [((i, 0.5*i), [str(i), i]) for i in range(n)]}

@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.sampled_from(sorted(kinds)))
def test_loader_is_like_pytorchs(n, bs, drop_last, kind):
    ds = kinds[kind](n)
    ours,theirs = DataLoader(ds, bs, drop_last=drop_last),TorchLoader(ds, bs, drop_last=drop_last)
    assert len(ours) == len(theirs) == len(list(ours))
    assert all(same(a, b) for a,b in zip(ours, theirs, strict=True))

@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.sampled_from(sorted(kinds)), st.integers(0, 99))
def test_loader_shuffles(n, bs, drop_last, kind, seed):
    def epochs(k):
        ids = DataLoader(TensorDataset(torch.arange(n)), bs, True, drop_last, generator(seed))
        return [[o for b, in ids for o in b.tolist()] for _ in range(k)]
    a,b = epochs(2)
    kept = len(DataLoader(range(n), bs, drop_last=drop_last))*bs if drop_last else n
    assert len(a) == len(set(a)) == min(kept, n) and set(a) <= set(range(n))           # each item once, or dropped
    assert epochs(2) == [a, b]                                                          # the seed decides
    assert n < 8 or drop_last or a != b                                                 # another order each time
    ds,order = kinds[kind](n),torch.randperm(n, generator=generator(seed)).tolist()
    for i,batch in enumerate(DataLoader(ds, bs, True, drop_last, generator(seed))):
        assert same(batch, default_collate([ds[j] for j in order[i*bs:(i+1)*bs]]))

def test_loader_copies_nothing_in_order():
    x = torch.rand(10, 3)
    assert next(iter(DataLoader(TensorDataset(x), 4)))[0].data_ptr() == x.data_ptr()

def test_loader_follows_a_datasets_own_rules():
    assert TensorDataset is TorchDataset
    class Doubled(TensorDataset):
        def __getitem__(self, i): return tuple(2*o for o in super().__getitem__(i))
    for shuffle in (False, True): assert same(next(iter(DataLoader(Doubled(tensor([1., 1.])), 2, shuffle))), [tensor([2., 2.])])

def test_loader_options():
    x = torch.rand(250, 2)
    assert len(DataLoader(TensorDataset(x), bs=np.int64(100))) == len(list(DataLoader(TensorDataset(x), np.int64(100), True))) == 3
    for bad in (0, 2.5, '64', None):
        with pytest.raises((TypeError, ZeroDivisionError)): list(DataLoader(TensorDataset(x), bs=bad))
    with pytest.raises((TypeError, ValueError)): len(DataLoader(x, bs=-1))
    with pytest.raises(AssertionError): TensorDataset(x, x[:-1])
    with pytest.raises((TypeError, AttributeError)): TensorDataset([1, 2], x)

@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 10**6))
def test_batch_size(n):
    bs = batch_size(n)
    assert 1 <= bs <= 256 and bs == min(256, 1 + n//40) and batch_size(n, 8) <= 8
    assert n > 256*40 or len(DataLoader(range(n), bs)) in range(min(n, 20), 42)

# --- the loop

def test_validate_epoch_weighs_batches_by_their_length():
    x = torch.randn(250, 3, generator=generator()); y = (x.sum(1, keepdim=True) > 0.3).float()
    def model(xb): return xb.sum(1, keepdim=True)
    for bs in (1, 7, 100, 249, 250): assert abs(validate_epoch(model, DataLoader(TensorDataset(x, y), bs), batch_accuracy) - batch_accuracy(model(x), y)) < 1e-6
    for none in (DataLoader(TensorDataset(x, y), 300, drop_last=True), DataLoader(TensorDataset(x[:0], y[:0])), []):
        with pytest.raises(ZeroDivisionError): validate_epoch(model, none, batch_accuracy)

def test_basic_optim_refuses_what_would_train_nothing():
    model = nn.Linear(2, 1)
    used = model.parameters(); list(used)
    for none in ([], used, [tensor(1.)], torch.zeros(3, 2, requires_grad=True)):
        with pytest.raises(ValueError, match='collects gradients'): BasicOptim(none, 0.1)
    with pytest.raises(TypeError): BasicOptim(tensor(1., requires_grad=True), 0.1)
    BasicOptim([tensor(1.), tensor(1., requires_grad=True)], 0.1)      # a part may be frozen

def test_basic_optim_skips_what_has_no_gradient():
    unused = tensor(1., requires_grad=True)
    BasicOptim([unused], 0.1).step()
    assert unused.item() == 1.

def test_basic_optim_is_pytorchs():
    models,x = [nn.Linear(3, 1) for _ in range(2)],torch.randn(20, 3, generator=generator())
    models[1].load_state_dict(models[0].state_dict())
    for model,make in zip(models, (BasicOptim, torch.optim.SGD)):
        train_epoch(model, DataLoader(TensorDataset(x, x[:, :1]), 4), lambda p, t: ((p - t)**2).mean(), make(model.parameters(), 0.1))
    check(models[0].weight.detach(), models[1].weight.detach())

# --- threads: these tests choose no number themselves, so they hold beside any OMP_NUM_THREADS

SMALL,CONV,LARGE = nn.Linear(3, 1),nn.Conv2d(1, 1, 3),nn.Linear(1001, 1000)

@pytest.fixture
def free(monkeypatch):
    "As in a process in which nobody chose a number of threads; gives the number."
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.setattr(linear, '_at_import', 3)
    yield 3
    torch.set_num_threads(before)

def test_threads(free):
    with threads(2):
        assert torch.get_num_threads() == 2
        with threads(5): assert torch.get_num_threads() == 5
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == free
    with pytest.raises(KeyError):
        with threads(2): raise KeyError
    assert torch.get_num_threads() == free
    with pytest.raises(RuntimeError):
        with threads(0): pass
    assert torch.get_num_threads() == free
    with suiting(SMALL): assert torch.get_num_threads() == 1       # the failed block has not left a choice behind

def test_threads_as_a_decorator(free):
    @threads(2)
    def number(): return torch.get_num_threads()
    assert [number(), number(), torch.get_num_threads()] == [2, 2, free]

def test_suiting(free):
    for model in (SMALL, lambda x: x, nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 1)), nn.Linear(1000, 999)):
        with suiting(model): assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == free
    for model in (CONV, LARGE, nn.Sequential(nn.Linear(3, 3), nn.Conv1d(1, 1, 2))):
        with suiting(model): assert torch.get_num_threads() == joblib.cpu_count()
        assert torch.get_num_threads() == free
    with pytest.raises(KeyError):
        with suiting(SMALL): raise KeyError
    assert torch.get_num_threads() == free

def test_suiting_leaves_a_choice_alone(free, monkeypatch):
    for n in (free, 2):
        with threads(n):
            for model in (SMALL, CONV):
                with suiting(model): assert torch.get_num_threads() == n
    with suiting(SMALL):
        with suiting(CONV): assert torch.get_num_threads() == 1     # the outer one has chosen
    torch.set_num_threads(4)
    for model in (SMALL, CONV):
        with suiting(model): assert torch.get_num_threads() == 4
        assert torch.get_num_threads() == 4
    torch.set_num_threads(free)
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    with suiting(CONV): assert torch.get_num_threads() == free

def test_suiting_counts_the_cores_that_it_may_use(free, monkeypatch):
    monkeypatch.setattr(joblib, 'cpu_count', lambda: 7)
    with suiting(CONV): assert torch.get_num_threads() == 7

def test_train_model_has_the_threads_that_suit(free):
    seen,x = [],torch.rand(8, 3)
    class Spy(nn.Linear):
        def forward(self, xb): seen.append(torch.get_num_threads()); return super().forward(xb)
    model = Spy(3, 1)
    dl = DataLoader(TensorDataset(x, (x[:, :1] > 0.5).float()), 4)
    args = model, dl, dl, mnist_loss, BasicOptim(model.parameters(), 0.1), 2
    assert len(train_model(*args)) == 2 and set(seen) == {1} and torch.get_num_threads() == free
    seen.clear()
    with threads(2): train_model(*args)
    assert set(seen) == {2} and torch.get_num_threads() == free
    with pytest.raises(ZeroDivisionError): train_model(model, dl, [], *args[3:])
    assert torch.get_num_threads() == free

def run(code, **env):
    "What a process of its own prints."
    env = {k: v for k,v in os.environ.items() if k != 'OMP_NUM_THREADS'} | env
    res = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env)
    assert res.returncode == 0, res.stderr
    return res.stdout.split()

def test_importing_changes_no_number():
    code = ('import sys, torch; a = torch.get_num_threads(); import mnist_from_scratch.linear; print(a == torch.get_num_threads(), '
            "[m for m in ('fastai', 'nbdev', 'IPython', 'sklearn', 'scipy', 'joblib', 'jupyter_core') if m in sys.modules])")
    assert run(code) == ['True', '[]'] == run(code, OMP_NUM_THREADS='2')

def test_a_number_from_outside_is_respected():
    code = ('import torch; from torch import nn; from mnist_from_scratch.linear import suiting\n'
            'for model in (nn.Linear(2, 1), nn.Conv2d(1, 1, 3)):\n    with suiting(model): print(torch.get_num_threads())')
    assert run(code, OMP_NUM_THREADS='1') == ['1', '1']
    assert len(set(run('import torch; print(torch.get_num_threads())\n' + code, OMP_NUM_THREADS='2'))) == 1
    assert run(code) == ['1', str(joblib.cpu_count())]
    assert run('import torch, mnist_from_scratch.linear; torch.set_num_threads(5)\n' + code) == ['5', '5']

@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='only where a process can be kept on one core')
def test_affinity_is_respected():
    code = ('import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nimport torch; from torch import nn; torch.set_num_threads(2)\n'
            'from mnist_from_scratch.linear import suiting\nwith suiting(nn.Conv2d(1, 1, 3)): print(torch.get_num_threads())')
    assert run(code) == ['1']

# --- the rung

@pytest.mark.parametrize('digits, n_params', [((2, 5), 785), ((0, 3, 9), 3*785)])
def test_its_rung(digits, n_params):
    y = tensor(digits).repeat(30)
    x = torch.rand(len(y), 28, 28, generator=generator())*0.2
    for d in digits: x[y == d, d*2:d*2 + 6] += 0.5
    scores,n = fit_linear(x, y, 40, 42)
    assert n == n_params and scores(x).shape == (len(y), len(digits))
    assert (tensor(digits)[scores(x).argmax(1)] == y).float().mean() > 0.95
    assert [type(o) for o in scores] == [nn.Flatten, nn.Linear] and not scores.training and scores[1].weight.is_leaf      # a module, layer by layer
    if len(digits) == 2: check(scores(x)[:, 0].detach(), -scores(x)[:, 1].detach())
    check(fit_linear(x, y, 40, 42)[0](x).detach(), scores(x).detach())              # the seed decides
    for seed in range(5): assert (tensor(digits)[fit_linear(x, y, 40, seed)[0](x).argmax(1)] == y).float().mean() > 0.95      # its rate suits small batches
    state = torch.get_rng_state(); fit_linear(x, y, 1, 1); assert torch.equal(state, torch.get_rng_state())
