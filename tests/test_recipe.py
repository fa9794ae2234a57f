"The recipe: shifts, bits, labels of any kind, seeds, budgets."
from types import SimpleNamespace

import pytest, torch
from torch import nn, tensor

from mnist_from_scratch import learner, recipe
from mnist_from_scratch.recipe import (
    BUDGETS, MixedPrecision, ShiftBatch, digits_learner, fit_network, fit_recipe, has_bf16, shift_batch)
from mnist_from_scratch.tensors import check


def digits(n=200, labels=(0, 1, 2), seed=0):
    "Images with a bar whose place says the label."
    g = torch.Generator().manual_seed(seed)
    y = tensor(labels)[torch.randint(len(labels), (n,), generator=g)]
    x = 0.1*torch.rand(n, 28, 28, generator=g)
    for i,d in enumerate(labels): x[y == d, 5 + 7*i:9 + 7*i, 4:24] += 0.8
    return x, y


def test_shift_batch_reaches_every_place_and_no_other():
    x = torch.zeros(2, 9, 9); x[:, 4, 4] = 1
    g = torch.Generator().manual_seed(56)
    seen = {tuple(shift_batch(x, 2, g)[0].nonzero()[0].tolist()) for _ in range(400)}
    assert seen == {(i, j) for i in range(2, 7) for j in range(2, 7)}
    check(shift_batch(x[:, None], 0), x[:, None])


def test_nothing_comes_in_on_the_other_side():
    corner,g = torch.zeros(1, 3, 3),torch.Generator().manual_seed(1)
    corner[0, 0, 0] = 1
    assert {shift_batch(corner, 1, g).sum().item() for _ in range(100)} == {0., 1.}


def test_one_shift_for_the_batch():
    x = torch.rand(5, 1, 6, 6)
    moved = shift_batch(x, 2, torch.Generator().manual_seed(3))
    assert all(torch.equal(shift_batch(x[i:i+1], 2, torch.Generator().manual_seed(3)), moved[i:i+1]) for i in range(5))


def test_only_training_batches_are_shifted():
    cb = ShiftBatch(3, torch.Generator().manual_seed(0))
    x = torch.rand(4, 8, 8)
    cb.learn = SimpleNamespace(training=False, xb=x)
    cb.before_batch()
    assert cb.learn.xb is x
    cb.learn.training = True
    cb.before_batch()
    assert not torch.equal(cb.learn.xb, x)


def test_mixed_precision():
    cb,model = MixedPrecision(),nn.Linear(50, 3)
    cb.learn = SimpleNamespace(dls=SimpleNamespace(device=torch.device('cpu')), model=model)
    x = torch.randn(8, 50)
    pred = cb.forward(x)
    assert pred.dtype == torch.float32 and model.weight.dtype == torch.float32
    assert 0 < (pred - model(x)).abs().max() < 0.05
    pred.sum().backward()
    assert model.weight.grad.dtype == torch.float32


@pytest.mark.skipif(not hasattr(learner, 'STEPS'), reason='needs the Learner whose callbacks may take the place of a step')
def test_mixed_precision_in_a_fit():
    a,b = (digits_learner(digits(), seed=1, bf16=o) for o in (True, False))
    for o in (a, b):
        with o.no_bar(): o.fit(1, 1e-3)
    assert not torch.equal(a.model[2].weight, b.model[2].weight)
    check(a.model[2].weight.detach(), b.model[2].weight.detach(), tol=0.1, atol=0.01)


def test_has_bf16():
    assert has_bf16('mps') is False and isinstance(has_bf16(), bool)
    if not torch.cuda.is_available(): assert not has_bf16('cuda')


@pytest.mark.parametrize('labels', [(0, 1, 2), (3, 7), (-5, 40, 1000)])
def test_labels_of_any_kind(labels):
    x,y = digits(labels=labels)
    model,n_params = fit_network(x, y, 4, 1)
    assert n_params == sum(p.numel() for p in model.parameters()) and not model.training
    with torch.no_grad(): scores = model(x)
    assert scores.shape == (len(x), len(labels)) and scores.dtype == torch.float32
    assert (tensor(sorted(labels))[scores.argmax(1)] == y).float().mean() > 0.95


def test_one_label_is_refused():
    with pytest.raises(ValueError, match='two different'): fit_network(torch.rand(5, 28, 28), torch.full((5,), 3), 1, 1)


def test_the_seed_decides():
    x,y = digits(120)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    a,b,c = (fit_network(x, y, 1, seed)[0] for seed in (5, 5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    check(a(x[:50]).detach(), b(x[:50]).detach())
    assert not torch.equal(a(x[:50]), c(x[:50]))


def test_budgets(monkeypatch):
    asked = []
    monkeypatch.setattr(recipe, 'fit_network', lambda x, y, epochs, seed: asked.append((epochs, seed)) or (nn.Identity(), 0))
    for budget in BUDGETS: fit_recipe(None, None, budget, seed=3)
    fit_recipe(None, None)
    assert [e for e,_ in asked] == sorted(BUDGETS.values()) + [max(BUDGETS.values())] and asked[-1][1] == 42
    with pytest.raises(ValueError, match="'half'.*tenth, third, full"): fit_recipe(None, None, 'half')


def test_fit_recipe_gives_a_module():
    x,y = digits(80)
    model = fit_recipe(x, y, 'tenth', seed=1)
    assert isinstance(model, nn.Module) and model(x[:4]).shape == (4, 3)
