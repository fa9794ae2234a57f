"What the Learner must do at every event and survive: the plumbing of chapter 05, and each fault that was found in its first edition."
import gc, io, math, os, signal, subprocess, sys, threading, weakref
from contextlib import redirect_stdout
from copy import deepcopy
from functools import partial, partialmethod
from typing import NamedTuple

import pytest, torch, torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn, tensor
from torch.utils import data as torch_data

from mnist_from_scratch.learner import *
from mnist_from_scratch.linear import BasicOptim, DataLoader, TensorDataset, batch_accuracy, mnist_loss
from mnist_from_scratch.optimizers import SGD, Adam
from mnist_from_scratch.tensors import check

torch.set_num_threads(1)
G = torch.Generator().manual_seed(0)
X = torch.randn(70, 8, generator=G)
Y = (X[:, :1] + 0.3*torch.randn(70, 1, generator=G) > 0).float()
bce = F.binary_cross_entropy_with_logits

def net(seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 1))

def data(seed=1, n=40, bs=10):
    train = DataLoader(TensorDataset(X[:n], Y[:n]), bs, True, generator=torch.Generator().manual_seed(seed))
    return DataLoaders(train, DataLoader(TensorDataset(X[50:], Y[50:]), 8), 'cpu')

def quiet(dls=None, model=None, loss_func=bce, opt_func=torch.optim.SGD, lr=0.1, **kwargs):
    learn = Learner(dls or data(), model or net(), loss_func, opt_func, lr, **kwargs)
    learn.bar = False
    return learn

def weights(model): return nn.utils.parameters_to_vector(model.parameters()).detach().clone()

def same(a, b):
    if torch.is_tensor(a): return torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a == b

def all_of(learn):
    "All that a trial could have changed."
    memory = [learn.opt.state.get(p) for p in learn.model.parameters()] if learn.opt else None
    return deepcopy((dict(learn.model.state_dict()), [m.training for m in learn.model.modules()], memory,
        {k: v for k,v in vars(learn.recorder).items() if k != 'learn'}, [g.get_state() for g in generators(learn).values()]))

class Do(Callback):
    "Calls a function with the learner at an event."
    def __init__(self, event, f, order=0): self.order = order; setattr(self, event, lambda: f(self.learn))

class Flow(Callback):
    "Notes every event, and raises where told."
    def __init__(self, at=None, ex=None, order=0):
        self.seen,self.order = [],order
        for event in EVENTS: setattr(self, event, partial(self.note, event, ex if event == at else None))
    def note(self, event, ex):
        self.seen.append(event)
        if ex: raise ex

def flow(at=None, ex=None, n=1, order=0, **kwargs):
    learn,cb = quiet(data(n=20), **kwargs),Flow(at, ex, order)
    learn.fit(n, cbs=cb)
    return cb.seen, learn

# ---- the loop ----

def by_hand(opt, cycle=None, epochs=3, seed=1):
    "The weights after a loop written by hand."
    model,dls = net(),data(seed)
    o,n,i = opt(model.parameters()),len(dls.train),0
    for epoch in range(epochs):
        for xb,yb in dls.train:
            if cycle: cycle(o, i/n/epochs)
            bce(model(xb), yb).backward(); o.step(); o.zero_grad(); i += 1
    return weights(model)

def test_equal_to_a_loop_by_hand_to_the_bit():
    for opt in (partial(torch.optim.SGD, lr=0.1), partial(torch.optim.SGD, lr=0.1, momentum=0.9), partial(SGD, lr=0.1), partial(SGD, lr=0.1, mom=0.9),
                partial(torch.optim.Adam, lr=0.1), partial(Adam, lr=0.1), partial(torch.optim.AdamW, lr=0.1), partial(torch.optim.RMSprop, lr=0.1)):
        learn = quiet(opt_func=opt)
        learn.fit(3)
        assert torch.equal(weights(learn.model), by_hand(opt)), opt
    learn = quiet(opt_func=partial(torch.optim.SGD, momentum=0.9))
    learn.fit_one_cycle(3, 0.1)
    lr,mom = combined_cos(0.25, 0.1/25, 0.1, 0.1/1e5),combined_cos(0.25, 0.95, 0.85, 0.95)
    def cycle(opt, done): opt.param_groups[0].update(lr=lr(done), momentum=mom(done))
    assert torch.equal(weights(learn.model), by_hand(partial(torch.optim.SGD, lr=0.1, momentum=0.9), cycle))

BATCH = ['before_batch', 'after_pred', 'after_loss', 'before_step', 'after_step', 'after_batch']
VALID = ['before_batch', 'after_pred', 'after_loss', 'after_batch']
EPOCH = ['before_epoch', 'before_train', *2*BATCH, 'after_train', 'before_validate', *3*VALID, 'after_validate', 'after_epoch']

def test_events_and_their_order():
    assert flow(n=2)[0] == ['before_fit', *2*EPOCH, 'after_fit']
    learn,cb = quiet(data(n=40, bs=2)),Flow()
    learn.fit(1, cbs=cb)
    assert len(cb.seen) == 8 + 20*6 + 3*4 and set(cb.seen) == set(EVENTS)

def test_cancelling_at_every_event():
    assert flow('after_pred', CancelBatchException)[0].count('after_batch') == 5
    assert flow('after_step', CancelEpochException, 2)[0].count('after_epoch') == 2
    assert flow('before_batch', CancelFitException, 2)[0] == ['before_fit', 'before_epoch', 'before_train', 'before_batch', 'after_fit']
    for at in BATCH[:4]: assert flow(at, CancelBatchException)[1].recorder.lrs == []       # no step, nothing recorded
    for at in EVENTS[:-1]:
        seen,learn = flow(at, CancelFitException, 2)
        assert seen[-1] == 'after_fit' and seen.count(at) == 1 and not learn.fitting, at
    for at in EVENTS[1:-1]:
        if at == 'after_epoch': continue
        seen,_ = flow(at, CancelEpochException, 2)
        assert seen.count('after_epoch') == 2 and seen[-1] == 'after_fit' and seen.count(at) == 2, at
        if EVENTS.index(at) < 9: assert 'before_validate' not in seen, at
    for at in BATCH[:5]:
        seen,_ = flow(at, CancelBatchException)
        assert seen.count('after_batch') == 5 and seen[-2:] == ['after_epoch', 'after_fit'], at

def test_a_batch_cancelled_when_it_is_over_goes_on():
    assert flow('after_batch', CancelBatchException)[0].count('after_batch') == 5
    assert flow('after_epoch', CancelEpochException, 2)[0].count('after_epoch') == 2

def test_no_batch_of_a_fit_reaches_its_loss():
    _,learn = flow('before_batch', CancelBatchException)
    assert not hasattr(learn, 'loss') or not learn.recorder.losses

def test_a_cancel_with_nothing_to_cancel():
    for at,ex in (('before_fit', CancelBatchException), ('before_epoch', CancelBatchException), ('before_fit', CancelEpochException)):
        with pytest.raises((FitError, ex)): flow(at, ex)

def test_no_gradients_are_left_over():
    class NoGrads(Callback):
        def __init__(self, each): self.each = each
        def before_train(self): self.look()
        def before_batch(self): self.look() if self.each else None
        def look(self): assert self.learn.model[0].weight.grad is None
    for at,ex in (('before_step', CancelEpochException), ('after_step', CancelEpochException), ('after_step', CancelBatchException)):
        learn = quiet()
        learn.fit(2, cbs=[Flow(at, ex), NoGrads(at == 'after_step')])
        assert learn.model[0].weight.grad is None
    learn = quiet()
    for p in learn.model.parameters(): p.grad = torch.full_like(p, 1e6)         # left by somebody else
    learn.fit(3)
    assert torch.equal(weights(learn.model), by_hand(partial(torch.optim.SGD, lr=0.1)))

def test_batches_cancelled_before_their_step_add_up():
    def skip(learn):
        if learn.iter % 2 == 0: raise CancelBatchException
    a,b = quiet(data(bs=10)),quiet(data(bs=20), loss_func=lambda p, t: 2*bce(p, t))
    a.fit(2, cbs=Do('before_step', skip)); b.fit(2)
    check(weights(a.model), weights(b.model), tol=1e-4, atol=1e-6)

def test_the_table_has_a_row_for_each_whole_epoch():
    for at,ex,rows in (('before_epoch', CancelEpochException, 0), ('after_batch', CancelEpochException, 0), ('after_validate', CancelEpochException, 2)):
        learn,cb,out = Learner(data(n=20), net(), bce, torch.optim.SGD),Flow(at, ex),io.StringIO()
        with redirect_stdout(out): learn.fit(2, cbs=cb)
        assert (cb.seen.count('after_epoch'), cb.seen[-1], len(out.getvalue().splitlines()) - 1) == (2, 'after_fit', rows), at
    out = io.StringIO()
    with redirect_stdout(out):
        with learn.no_bar(): learn.fit(1)
    assert out.getvalue() == '' and learn.bar

def test_validation_that_is_cancelled_gives_no_row():
    "A row without its columns broke who reads the last one."
    def skip(learn):
        if not learn.training: raise CancelBatchException
    learn = quiet(metrics=batch_accuracy)
    learn.fit(2, cbs=Do('before_batch', skip))
    assert learn.recorder.values == [] and len(learn.recorder.losses) == 8

def test_misspelt_events_are_refused():
    with pytest.raises(ValueError, match='did you mean before_batch?'):
        class Near(Callback):
            def befor_batch(self): pass
    with pytest.raises(ValueError, match='never called'):
        class Far(Callback):
            def after_everything(self): pass
    with pytest.raises(ValueError, match='did you mean get_loss?'):
        class Step(Callback):
            def get_los(self, pred, yb): pass
    class Fine(Callback):
        steps = 0
        def before(self): pass
        def batch(self): pass
        def _before_batch(self): pass

def test_means_weigh_each_batch_by_its_items():
    learn = quiet(metrics=[batch_accuracy, mnist_loss, partial(batch_accuracy)])
    learn.fit(1)
    with torch.no_grad(): p = learn.model.eval()(X[50:])
    check(tensor(learn.recorder.values[-1][1:]), torch.stack([f(p, Y[50:]) for f in (bce, batch_accuracy, mnist_loss, batch_accuracy)]), tol=1e-5)
    assert learn.recorder.names == ['train_loss', 'valid_loss', 'batch_accuracy', 'mnist_loss', 'batch_accuracy']

class Pair(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor

def test_targets_in_dicts_lists_and_tuples_are_counted_by_items():
    "Their keys were counted, and the table was wrong on uneven batches."
    for wrap,get in ((lambda y: {'y': y, 'z': y}, lambda t: t['y']), (lambda y: [y, y], lambda t: t[0]), (lambda y: Pair(y, y), lambda t: t.a),
                     (lambda y: {'deep': [(y, y)]}, lambda t: t['deep'][0][0])):
        batches = [(X[i:j], wrap(Y[i:j])) for i,j in ((0, 10), (10, 13))]
        learn = quiet(DataLoaders(batches, batches, 'cpu'), loss_func=lambda p, t: bce(p, get(t)), metrics=lambda p, t: batch_accuracy(p, get(t)))
        learn.fit(1)
        with torch.no_grad(): p = learn.model(X[:13])
        check(tensor(learn.recorder.values[-1][1:]), torch.stack([bce(p, Y[:13]), batch_accuracy(p, Y[:13])]), tol=1e-5)

def test_to_device():
    b = to_device({'a': [X, 'name'], 'b': (1, Y)}, 'cpu')
    assert b['a'][0] is X and b['a'][1] == 'name' and b['b'][0] == 1 and isinstance(b['b'], tuple)
    p = to_device(Pair(X, Y), 'meta')
    assert isinstance(p, Pair) and p.a.device.type == p.b.device.type == 'meta'
    assert to_device(None, 'cpu') is None and to_device('text', 'cpu') == 'text' and to_device([], 'cpu') == []
    assert DataLoaders([], []).device.type == default_device()

def test_training_without_validation():
    learn,out = Learner(DataLoaders(data().train, device='cpu'), net(), bce, torch.optim.SGD, 0.1, batch_accuracy),io.StringIO()
    with redirect_stdout(out): learn.fit(3)
    assert torch.equal(weights(learn.model), by_hand(partial(torch.optim.SGD, lr=0.1)))
    assert learn.recorder.names == ['train_loss'] and [len(o) for o in learn.recorder.values] == [1]*3
    assert [o[0] for o in learn.recorder.values] == [learn.recorder.losses[i - 1] for i in learn.recorder.iters]
    assert len(out.getvalue().splitlines()) == 4

# ---- metrics, several inputs and targets ----

class Right:
    "A metric of torchmetrics' form: the share of right answers, added up by itself."
    def __init__(self): self.resets,self.reset_ = 0,None
    def reset(self): self.right = self.n = 0; self.resets += 1
    def update(self, pred, yb): self.right += ((pred > 0) == (yb == 1)).sum(); self.n += len(yb)
    def compute(self): return self.right/self.n

def test_metrics_with_a_memory():
    uneven = [(X[i:j], Y[i:j]) for i,j in ((0, 20), (20, 23), (23, 24))]
    learn = quiet(DataLoaders(data().train, uneven, 'cpu'), metrics=[batch_accuracy, right := Right()])
    learn.fit(3)
    assert learn.recorder.names[2:] == ['batch_accuracy', 'Right'] and right.resets == 3
    for row in learn.recorder.values: assert math.isclose(row[2], row[3], abs_tol=1e-6) and isinstance(row[3], float)
    assert math.isclose(learn.recorder.values[-1][3], batch_accuracy(learn.model(X[:24]), Y[:24]).item(), abs_tol=1e-6)
    class Module(nn.Module, Right):
        def __init__(self): nn.Module.__init__(self); Right.__init__(self); self.register_buffer('b', torch.zeros(1))
    learn = quiet(metrics=Module())
    learn.dls.device = torch.device('meta')
    with pytest.raises(Exception): learn.fit(1)
    assert learn.metrics[0].b.device.type == 'meta'          # it was sent to where the data is

def test_metrics_of_torchmetrics():
    tm = pytest.importorskip('torchmetrics')
    learn = quiet(loss_func=lambda p, t: bce(p, t.float()), metrics=[batch_accuracy, tm.classification.BinaryAccuracy(0.5)])
    learn.fit(2)
    for row in learn.recorder.values: assert math.isclose(row[2], row[3], abs_tol=1e-6)

class Two(nn.Module):
    "Two inputs, and one or two outputs."
    def __init__(self, n_out=1): super().__init__(); self.a,self.b,self.n_out = net(1),net(2),n_out
    def forward(self, u, v): return self.a(u) + self.b(v) if self.n_out == 1 else (self.a(u), self.b(v))

def test_several_inputs_by_a_step():
    class TwoInputs(Callback):
        def forward(self, xb): return self.learn.model(*xb)
    batches = [((X[i:j], X[i:j]**2), Y[i:j]) for i,j in ((0, 10), (10, 13))]
    learn = quiet(DataLoaders(batches, batches, 'cpu'), Two(), metrics=batch_accuracy)
    learn.fit(2, cbs=TwoInputs())
    with torch.no_grad(): p = learn.model(X[:13], X[:13]**2)
    check(tensor(learn.recorder.values[-1][1:]), torch.stack([bce(p, Y[:13]), batch_accuracy(p, Y[:13])]), tol=1e-5)

class Pairs(Two):
    "The same, as one input that is a pair."
    def forward(self, pair): return super().forward(*pair)

def test_a_pair_may_be_one_input():
    batches = [((X[i:j], X[i:j]**2), Y[i:j]) for i,j in ((0, 10), (10, 13))]
    learn = quiet(DataLoaders(batches, batches, 'cpu'), Pairs(), metrics=batch_accuracy)
    learn.fit(2)
    preds,targs = learn.get_preds()
    with torch.no_grad(): check(preds, learn.model((X[:13], X[:13]**2)))
    assert torch.equal(targs, Y[:13])

def test_batches_of_three_are_refused():
    "As fastai has them they would be two inputs; which ones are targets is for the data to say."
    with pytest.raises(ValueError, match='unpack'): quiet(DataLoaders([(X[:5], X[:5], Y[:5])], device='cpu')).fit(1)

def test_several_targets():
    batches = [(X[i:j], (Y[i:j], 1 - Y[i:j])) for i,j in ((0, 10), (10, 13))]
    def loss(p, ts): return bce(p, ts[0]) + 0.1*bce(-p, ts[1])
    learn = quiet(DataLoaders(batches, batches, 'cpu'), loss_func=loss, metrics=lambda p, ts: batch_accuracy(-p, ts[1]))
    learn.fit(2)
    with torch.no_grad(): p = learn.model(X[:13])
    ts = Y[:13],1 - Y[:13]
    check(tensor(learn.recorder.values[-1][1:]), torch.stack([loss(p, ts), batch_accuracy(-p, ts[1])]), tol=1e-5)
    preds,(s,t) = learn.get_preds()
    check(preds, p); assert torch.equal(s, ts[0]) and torch.equal(t, ts[1])

def test_several_outputs():
    batches = [((X[i:j], X[i:j]), Y[i:j]) for i,j in ((0, 10), (10, 13))]
    learn = quiet(DataLoaders(batches, batches, 'cpu'), Pairs(2), loss_func=lambda ps, t: bce(ps[0], t) + bce(ps[1], t))
    learn.fit(1)
    (a,b),targs = learn.get_preds()
    assert a.shape == b.shape == targs.shape == (13, 1)

def test_training_without_targets_is_refused():
    for train in ([X[:2]], [(X[:5],)], [[X[:5]]]):
        with pytest.raises(FitError, match='without targets'): quiet(DataLoaders(train, device='cpu')).fit(1)

def test_several_batches_of_training_that_are_all_cancelled():
    def skip(learn):
        if learn.training: raise CancelBatchException
    learn = quiet(metrics=batch_accuracy)
    learn.fit(1, cbs=Do('before_batch', skip))
    row, = learn.recorder.values
    assert len(row) == 3 and math.isnan(row[0]) and not math.isnan(row[1])

def test_a_batch_is_let_go_before_the_next_is_made():
    "It was kept until the next had come: on a graphics card twice the memory, on the CPU a cold cache."
    alive = []
    class Counted:
        def __len__(self): return 5
        def __iter__(self):
            for i in range(5):
                gc.collect()
                alive.append(sum(o() is not None for o in refs))
                xb = X[i:i + 4].clone(); refs.append(weakref.ref(xb))
                yield xb, Y[i:i + 4]
                del xb
    refs = []
    quiet(DataLoaders(Counted(), device='cpu'), model=nn.Linear(8, 1)).fit(1)
    assert alive == [0]*5

# ---- what is printed ----

def test_one_argument_prints_nothing():
    out = io.StringIO()
    with redirect_stdout(out): Learner(data(), net(), bce, torch.optim.SGD, bar=False).fit(2)
    assert out.getvalue() == ''
    learn = Learner(data(), net(), bce, torch.optim.SGD)
    with redirect_stdout(out):
        learn.fit(2)                                          # no notebook: the table alone
        with learn.no_bar(): learn.fit(1)
    assert len(out.getvalue().splitlines()) == 3 and learn.bar

@pytest.mark.parametrize('valid', (True, False))
def test_a_bar_in_a_notebook(valid, monkeypatch):
    import fastprogress
    from mnist_from_scratch import learner as module
    class Bar:
        def __init__(self, gen, total=None): self.at,self.lines,self.total = [],[],total; bars.append(self)
        def update(self, n): self.at.append(n)
        def write(self, row, table=False): self.lines.append(row)
        def on_iter_end(self): self.ended = True
    bars = []
    monkeypatch.setattr(fastprogress, 'master_bar', Bar); monkeypatch.setattr(module, 'IN_NOTEBOOK', True)
    dls = data() if valid else DataLoaders(data().train, device='cpu')
    learn = Learner(dls, net(), bce, torch.optim.SGD)
    learn.fit(3); learn.fit(1)
    a,b = bars
    assert a.at == list(range(13)) and a.total == 12 and len(a.lines) == 4 and a.ended and len(b.lines) == 2

def test_a_callback_can_stop_early():
    class StopAt(Callback):
        def after_epoch(self):
            if self.learn.recorder.values[-1][2] > 0.6: raise CancelFitException
    learn = quiet(metrics=batch_accuracy)
    learn.fit(100, cbs=StopAt())
    assert 0 < len(learn.recorder.values) < 100 and learn.recorder.values[-1][2] > 0.6
    assert all(o[2] <= 0.6 for o in learn.recorder.values[:-1])

def test_who_owns_a_step_that_two_replace():
    class A(Callback):
        order = 5
        def backward(self, loss): loss.backward(); seen.append('A')
    class B(A):
        order = 4
        def backward(self, loss): loss.backward(); seen.append('B')
    seen = []
    quiet().fit(1, cbs=[A(), B()])
    assert set(seen) == {'A'} and len(seen) == 4

def test_top_losses_before_a_fit_with_weights_of_the_loss():
    learn = quiet(loss_func=nn.BCEWithLogitsLoss(pos_weight=tensor([2.])))
    losses,where = learn.top_losses(5)
    check(losses, torch.stack([learn.loss_func(learn.model(X[50 + i:51 + i]), Y[50 + i:51 + i]) for i in where]).detach())
    learn.dls.device = torch.device('meta')
    learn._move()
    assert learn.loss_func.pos_weight.device.type == 'meta'

# ---- optimizers, groups and schedules ----

def test_unfrozen_and_replaced_layers_learn():
    "The optimizer was made once, so that a layer unfrozen or replaced after the first fit never moved, silently."
    for opt in (torch.optim.SGD, partial(torch.optim.SGD, momentum=0.9), Adam):
        learn = quiet(opt_func=opt)
        for p in learn.model[0].parameters(): p.requires_grad_(False)
        was = learn.model[0].weight.clone()
        learn.fit(1); assert torch.equal(was, learn.model[0].weight)
        for p in learn.model[0].parameters(): p.requires_grad_(True)
        learn.fit(1); assert not torch.equal(was, learn.model[0].weight)
        learn.model[2] = new = nn.Linear(5, 1)
        was = new.weight.clone()
        learn.fit(1); assert not torch.equal(was, new.weight)

def test_memory_is_handed_over_between_fits():
    for opt in (partial(torch.optim.SGD, momentum=0.9), partial(SGD, mom=0.9), Adam, partial(torch.optim.Adam, betas=(0.9, 0.99))):
        a = quiet(opt_func=opt)
        a.fit(1); a.fit(2)
        assert torch.equal(weights(a.model), by_hand(partial(opt, lr=0.1)))
    a.opt_func = partial(SGD, mom=0.9)       # another kind begins with nothing
    a.fit(1)
    assert all(o.keys() == {'v'} for o in a.opt.state.values())

def test_a_schedule_leaves_no_momentum_behind():
    "A state saved within a cycle had the scheduled momentum, and the next fit went on with it."
    for opt in (partial(SGD, mom=0.9), Adam, partial(torch.optim.SGD, momentum=0.9), partial(torch.optim.AdamW, betas=(0.9, 0.99))):
        learn = quiet(opt_func=opt)
        learn.fit_one_cycle(2, 0.02, cbs=Do('after_train', lambda learn: (_ for _ in ()).throw(CancelFitException)))
        assert learn.recorder.moms[0] != 0.9
        learn.fit(1)
        assert set(learn.recorder.moms) == {0.9}

def test_momentum_zero_in_a_schedule_is_no_trap():
    "A schedule that reached 0 stayed there for ever."
    for opt in (partial(SGD, mom=0.9), partial(torch.optim.SGD, momentum=0.9), Adam):
        learn = quiet(opt_func=opt)
        learn.fit_one_cycle(2, 0.1, moms=(0.9, 0., 0.9))
        moms = learn.recorder.moms
        assert min(moms) == 0. and moms[0] == 0.9 and moms[-1] > 0.8
    for opt in (SGD, torch.optim.SGD):                       # and who has none stays without
        learn = quiet(opt_func=opt)
        learn.fit_one_cycle(2, 0.1)
        assert set(learn.recorder.moms) == {0.}

def test_groups_keep_their_own_rates_under_a_schedule():
    "They were flattened silently."
    def two(ps, lr): return torch.optim.SGD([{'params': ps[:2], 'lr': lr/10}, {'params': ps[2:]}], lr, momentum=0.9)
    def ours(ps, lr): return SGD([{'params': ps[:2], 'lr': lr/10, 'mom': 0.}, {'params': ps[2:]}], lr, mom=0.9)
    for opt in (two, ours):
        learn,seen = quiet(opt_func=opt),[]
        learn.fit_one_cycle(2, 0.1, cbs=Do('before_step', lambda l: seen.append([dict(g, params=0) for g in l.opt.param_groups])))
        for a,b in seen: assert math.isclose(a['lr']*10, b['lr'])
        assert max(b['lr'] for _,b in seen) == 0.1
        if opt is ours: assert {a['mom'] for a,_ in seen} == {0.} and len({b['mom'] for _,b in seen}) > 2
        seen.clear(); learn.fit(1, 0.5, cbs=Do('before_step', lambda l: seen.append([g['lr'] for g in l.opt.param_groups])))
        assert seen == [[0.05, 0.5]]*4

def test_a_failed_optimizer_can_be_put_right():
    "It failed for ever."
    learn = quiet(opt_func=lambda ps, lr: 1/0)
    with pytest.raises(ZeroDivisionError): learn.fit(1)
    learn.opt_func = torch.optim.SGD
    learn.fit(1); assert len(learn.recorder.losses) == 4
    learn = quiet(opt_func=BasicOptim)
    was = weights(learn.model)
    with pytest.raises(FitError, match='BasicOptim, expected an optimizer with param_groups'): learn.fit(1)
    assert torch.equal(was, weights(learn.model))                # before any step
    learn.opt_func = torch.optim.SGD
    learn.fit(1); assert len(learn.recorder.losses) == 4

def test_combined_cos():
    f = combined_cos(0.25, 1., 5., 2.)
    check(tensor([f(o) for o in (0, 0.125, 0.25, 0.625, 1.)]), tensor([1., 3., 5., 3.5, 2.]))
    assert combined_cos(1., 1., 5., 2.)(1.) == 5.            # it divided by zero

@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(0.05, 1.), *[st.floats(-10, 10)]*3, st.floats(0, 1))
def test_combined_cos_stays_between(pct, start, middle, end, pos):
    f = combined_cos(pct, start, middle, end)
    lo,hi = sorted((start, middle) if pos <= pct else (middle, end))
    assert lo - 1e-9 <= f(pos) <= hi + 1e-9
    assert math.isclose(f(0.), start, abs_tol=1e-9) and math.isclose(f(pct), middle, abs_tol=1e-9)

class Short:
    "A loader that says it is shorter than it is."
    def __init__(self, dl): self.dl = dl
    def __len__(self): return 2
    def __iter__(self): return iter(self.dl)

def test_a_loader_longer_than_it_says_does_not_raise_the_rate_again():
    learn = quiet(DataLoaders(Short(data().train), device='cpu'))
    learn.fit_one_cycle(1, 0.1)
    assert len(learn.recorder.lrs) == 4 and math.isclose(learn.recorder.lrs[-1], 0.1/1e5)

def test_a_stream_has_no_length():
    class Stream(torch_data.IterableDataset):
        def __iter__(self): return iter(zip(X[:40], Y[:40]))
    for train in (torch_data.DataLoader(Stream(), 10), Do):
        if train is Do:
            class Endless:
                def __iter__(self): return iter(data().train)
            train = Endless()
        learn = quiet(DataLoaders(train, device='cpu'))
        learn.fit(2); assert len(learn.recorder.losses) == 8 and learn.n_iter == -1
        with pytest.raises(FitError, match='no length'): learn.fit_one_cycle(2, 0.01)

# ---- what goes wrong ----

def test_callbacks_given_as_classes():
    "They raised an AttributeError inside the error handler."
    class Count(Callback):
        n = 0
        def after_step(self): type(self).n += 1
    quiet(cbs=Count).fit(1); assert Count.n == 4
    quiet().fit(1, cbs=Count); quiet(cbs=[Count, Flow()]).fit(1, cbs=[Count])
    assert Count.n == 16

def test_errors_in_callbacks_of_all_kinds_are_named():
    def bad(*_): return {}['lost']
    class Static(Callback): after_loss = staticmethod(bad)
    class Partial(Callback): after_loss = partial(bad, 1)
    class Method(Callback): after_loss = partialmethod(bad, 1)
    class ByClass(Callback): after_loss = classmethod(bad)
    class Builtin(Callback): after_loss = math.sqrt
    for cb in (Static, Partial(), Method(), ByClass, Builtin(), Do('after_loss', bad)):
        with pytest.raises(FitError, match=r'.*\.after_loss raised \w+Error.*epoch 0, training batch 0') as e: quiet().fit(1, cbs=cb)
        assert (cb if isinstance(cb, type) else type(cb)).__name__ in str(e.value)
        assert isinstance(e.value.__cause__, KeyError if cb.__class__ is not Builtin else TypeError)
    def late(learn):
        if learn.epoch: raise KeyError('late')
    with pytest.raises(FitError, match=r'\(epoch 1\)'): quiet().fit(2, cbs=Do('before_epoch', late))

def test_the_first_error_is_the_one_that_is_seen(capsys):
    "One in after_fit hid the one that had ended the fit."
    wild = quiet(model=nn.Linear(8, 1), loss_func=lambda p, t: F.mse_loss(1e9*p, t), lr=1.)
    def full(learn): raise OSError('disk full')
    with pytest.raises(FitError, match='the loss is'): wild.fit(20, cbs=Do('after_fit', full))
    assert 'After that, Do.after_fit raised OSError: disk full' in capsys.readouterr().out

def test_every_after_fit_is_called():
    seen = []
    def full(learn): raise OSError('disk full')
    cbs = [Do('after_fit', full, -200), Do('after_fit', lambda l: seen.append('a'), 0), Do('after_fit', lambda l: seen.append('b'), 200)]
    learn = quiet()
    with pytest.raises(FitError, match='Do.after_fit raised OSError'): learn.fit(1, cbs=cbs)
    assert seen == ['a', 'b'] and not learn.fitting
    learn.fit(1)

def fails(what, loss_func=bce, train=None, valid=None, n=1, lr=0.1, kind=FitError, whole=True, **kwargs):
    dls = data()
    learn = quiet(DataLoaders(dls.train if train is None else train, dls.valid if valid is None else valid, 'cpu'), loss_func=loss_func, **kwargs)
    was = weights(learn.model)
    with pytest.raises(kind, match=what): learn.fit(n, lr)
    if whole: assert torch.equal(was, weights(learn.model))
    assert not learn.fitting
    return learn

def test_what_a_fit_is_given_is_checked_before_anything_changes():
    "Rates of nan ruined the weights first, and a string as a loss was unclear."
    fails('-1 epochs', n=-1)
    for lr in (math.nan, math.inf, 0.): fails('expected a rate', lr=lr)
    fails('-0.1', lr=-0.1, kind=(FitError, ValueError)); fails('expected a rate', lr=-0.1, opt_func=SGD)
    fails('expected a function', 'bce')
    fails('no training data', train=[])
    fails('at least one batch', train=DataLoader(TensorDataset(X, Y), 100, drop_last=True))
    learn = quiet(DataLoaders(None, data().valid, 'cpu'))
    with pytest.raises(FitError, match='no training data'): learn.fit(1)
    fails('a pair', train=[X[:2]])
    fails('a pair', train=[X[:5]]); fails('.', train=[1, 2], kind=TypeError)
    fails('.', lambda p, t: bce(p, t).item())
    fails('.', lambda p, t: bce(p, t, reduction='none'))
    fails('.', lambda p, t: bce(p.detach(), t), kind=RuntimeError)
    learn = quiet(metrics=lambda p, t: (p > 0) == (t == 1))
    with pytest.raises(FitError, match='Recorder.after_validate'): learn.fit(1)

def test_frozen_altogether():
    learn = quiet()
    for p in learn.model.parameters(): p.requires_grad_(False)
    for opt in (torch.optim.SGD, Adam):
        learn.opt_func = opt
        with pytest.raises(ValueError): learn.fit(1)

def test_an_iterator_can_be_used_once_only():
    once = quiet(DataLoaders(iter(data().train), data().valid, 'cpu'))
    with pytest.raises(FitError, match='used once only'): once.fit(2)
    once = quiet(DataLoaders(data().train, iter(data().valid), 'cpu'))
    with pytest.raises(FitError, match='used once only'): once.fit(2)

def test_a_loss_that_is_no_number_stops_the_fit():
    learn = quiet(model=nn.Linear(8, 1), loss_func=lambda p, t: F.mse_loss(1e9*p, t), lr=1.)
    with pytest.raises(FitError, match='try a tenth'): learn.fit(20)
    assert all(p.isfinite().all() for p in learn.model.parameters()) and len(learn.recorder.losses) > 0
    fails('the loss is nan', lambda p, t: bce(p, t) + (p - p).abs().sum().sqrt(), whole=False)        # the slope of sqrt at 0
    with pytest.raises(FitError, match='epoch 0, validation batch 2'):
        quiet(loss_func=lambda p, t: bce(p, t)*(1 if len(t) != 4 else math.inf)).fit(1)

def test_a_model_that_was_moved():
    learn = quiet()
    learn.model.to(torch.float64)
    learn.dls = DataLoaders([(X.double(), Y.double())], device='cpu')
    learn.fit(1)
    other = nn.Sequential(net(), nn.Flatten())
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.ones(1))
    learn = quiet(model=other, loss_func=loss)
    learn.dls.device = torch.device('meta')
    with pytest.raises(Exception): learn.fit(1)          # no numbers there; but all was sent
    assert all(p.device.type == 'meta' for p in other.parameters()) and loss.pos_weight.device.type == 'meta'

def test_modes_are_set_and_left():
    class Peek(Callback):
        "Looks at predictions in the middle of a step, and notes the modes."
        def before_fit(self): self.modes = []
        def before_step(self):
            self.learn.get_preds(); self.learn.predict(X[0])
            self.modes.append((self.learn.training, self.learn.model.training))
    learn,peek = quiet(model=nn.Sequential(nn.Dropout(0.5), net())),Peek()
    learn.fit(2, cbs=peek)
    assert (peek.modes, len(learn.recorder.lrs), learn.training) == ([(True, True)]*8, 8, False)
    learn.model[0].train(); learn.model[1].eval(); learn.get_preds()
    assert learn.model[0].training and not learn.model[1].training

def test_a_fit_within_a_fit_is_refused():
    "It rewrote the history, and ended the outer fit silently."
    learn = quiet()
    def nested(learn):
        with pytest.raises(FitError, match='already fitting'): learn.fit(1)
        with pytest.raises(FitError, match='already fitting'): learn.fit_one_cycle(1)
    learn.fit(2, cbs=Do('after_batch', nested))
    assert torch.equal(weights(learn.model), by_hand(partial(torch.optim.SGD, lr=0.1), epochs=2)) and len(learn.recorder.values) == 2

def test_trials_within_a_fit_leave_it_alone():
    import mnist_from_scratch.optimizers
    learn = quiet()
    def trials(learn):
        if learn.iter or not learn.training: return
        with redirect_stdout(io.StringIO()): trace(learn)
        learn.lr_find(show_plot=False, num_it=10)
        with learn.twin() as twin: twin.fit(1)
    learn.fit(2, cbs=Do('before_step', trials))
    assert torch.equal(weights(learn.model), by_hand(partial(torch.optim.SGD, lr=0.1), epochs=2)) and len(learn.recorder.losses) == 8

def test_steps_are_replaced_while_a_fit_runs():
    class Half(Callback):
        def forward(self, xb):
            with torch.autocast('cpu', torch.bfloat16): return self.learn.model(xb).float()
    class Twice(Callback):
        def get_loss(self, pred, yb): return 2*self.learn.loss_func(pred, yb)
        def backward(self, loss): (loss/2).backward()
        def step(self): self.learn.opt.step(); self.learn.opt.zero_grad(); self.steps = getattr(self, 'steps', 0) + 1
    half,full = quiet(cbs=Half()),quiet()
    half.fit(3); full.fit(3)
    assert half.recorder.losses != full.recorder.losses and half.model[0].weight.dtype == torch.float32
    check(weights(half.model), weights(full.model), tol=0.05, atol=0.02)
    twice,cb = quiet(),Twice()
    twice.fit(3, cbs=cb)
    assert torch.equal(weights(twice.model), weights(full.model)) and cb.steps == 12
    check(tensor(twice.recorder.losses), 2*tensor(full.recorder.losses), tol=1e-6)
    def no(learn): raise KeyError
    for learn in (half, twice): assert not set(STEPS) & vars(learn).keys()
    with pytest.raises(FitError): twice.fit(1, cbs=[Twice(), Do('after_pred', no)])
    assert not set(STEPS) & vars(twice).keys()
    assert [type(o).__name__ for o in twice.cbs].count('Twice') == 0

# ---- twins and traces ----

def test_trace_shows_a_batch_and_leaves_no_trace():
    class Count(Callback):
        n = 0
        def before_batch(self): self.n += 1
    noise = Do('before_batch', lambda learn: None)
    noise.g = torch.Generator().manual_seed(3)
    learn,out = quiet(metrics=batch_accuracy, cbs=[Count(), noise]),io.StringIO()
    learn.fit(1)
    was,n = all_of(learn),learn.cbs[-2].n
    with redirect_stdout(out): trace(learn)
    assert same(was, all_of(learn)) and learn.cbs[-2].n == n and learn.opt.state is not None
    for o in ('after_loss', 'Recorder, StopOnNaN', ' ms', 'forward', 'backward', 'step', 'Count'):
        assert o in out.getvalue() or o == 'Recorder, StopOnNaN' and 'StopOnNaN, Recorder' in out.getvalue(), o

def test_trace_blames_whom_it_concerns():
    class Bad(Callback):
        def after_loss(self): raise KeyError('mine')
    learn = quiet(cbs=Bad())
    with pytest.raises(FitError, match='Bad.after_loss raised KeyError'), redirect_stdout(io.StringIO()): trace(learn)

def test_a_twin_leaves_chance_as_it_was():
    learn = quiet(model=nn.Sequential(nn.Dropout(0.5), net()))
    was = all_of(learn)
    with learn.twin() as twin: twin.fit(2)
    with pytest.raises(KeyError):
        with learn.twin() as twin: twin.fit(1); raise KeyError
    assert same(was, all_of(learn)) and learn.opt is None and not torch.equal(weights(twin.model), weights(learn.model))

def test_all_generators_are_found():
    "Those of samplers and callbacks were not saved; the resumed fit differed."
    g,h = torch.Generator(),torch.Generator()
    ds = TensorDataset(X, Y)
    class Mine(Callback):
        def __init__(self): self.gen = torch.Generator()
    for train in (DataLoader(ds, 10, True, generator=g), torch_data.DataLoader(ds, 10, True, generator=g),
                  torch_data.DataLoader(ds, 10, sampler=torch_data.RandomSampler(ds, generator=g)),
                  torch_data.DataLoader(ds, batch_sampler=torch_data.BatchSampler(torch_data.RandomSampler(ds, generator=g), 10, False))):
        found = list(generators(quiet(DataLoaders(train, device='cpu'), cbs=Mine())).values())
        assert any(o is g for o in found) and len({id(o) for o in found}) == 3
    mine = Mine()
    assert any(o is mine.gen for o in generators(quiet(), [mine]).values())

def test_generators_of_two_callbacks_of_one_class():
    class Mine(Callback):
        def __init__(self): self.gen = torch.Generator()
    cbs = [Mine() for _ in range(3)]
    found = generators(quiet(cbs=cbs))
    assert {id(o.gen) for o in cbs} <= {id(o) for o in found.values()} and "Mine.gen''" in found

# ---- predictions ----

def test_predictions():
    z = torch.linspace(-5, 5, 11)[:, None]
    check(class_probs(z)[:, 1], z[:, 0].sigmoid()); check(class_probs(z[:, 0]), class_probs(z))
    learn = quiet(metrics=batch_accuracy)
    learn.fit(3)
    preds,targs = learn.get_preds()
    assert math.isclose(batch_accuracy(preds, targs).item(), learn.recorder.values[-1][-1], abs_tol=1e-6)
    assert preds.shape == targs.shape == (20, 1) and not preds.requires_grad
    confusion = learn.confusion_matrix()
    assert confusion.sum() == 20 and confusion.shape == (2, 2)
    losses,where = learn.top_losses(10)
    item = bce(preds, targs, reduction='none')[:, 0]
    check(losses, item.sort(descending=True).values[:10]); check(item[where], losses)
    assert len(learn.top_losses(10**6)[0]) == 20

def test_outputs_without_a_column():
    "Accuracy was 0.98 and predict said class 0 for all."
    class Flat(nn.Module):
        def __init__(self): super().__init__(); self.net = net()
        def forward(self, x): return self.net(x).squeeze(-1)
    dls = DataLoaders([(X, Y[:, 0])], [(X, Y[:, 0])], 'cpu')
    learn = quiet(dls, Flat())
    learn.fit(30)
    says = tensor([learn.predict(x)[1] for x in X])
    assert torch.equal(says, (learn.get_preds()[0] > 0).long()) and 0 < says.sum() < 70
    right = (says == Y[:, 0]).sum()
    assert learn.confusion_matrix().diagonal().sum() == right and learn.predict(X[0])[2].shape == (2,)

def test_predict_wants_a_single_input():
    "For a batch it answered class 100 of 3."
    for model in (net(), nn.Linear(8, 3)):
        learn = quiet(model=model)
        with pytest.raises(ValueError, match='no single input'): learn.predict(X[:5])
        name,i,probs = learn.predict(X[0])
        assert name == i < len(probs)

def test_inputs_without_labels():
    "Row 0 was taken for the inputs and row 1 for the targets."
    learn = quiet()
    for dl in ([X[:2]], [X[:5], X[5:]], [(X[:2],)], [[X[:2]]]):
        preds,targs = learn.get_preds(dl)
        assert targs is None and preds.shape == (sum(len(b) if torch.is_tensor(b) else 2 for b in dl), 1)

def test_top_losses_are_calculated_where_the_loss_is():
    "A loss with weights that had moved met predictions that had not."
    learn = quiet(loss_func=nn.BCEWithLogitsLoss(pos_weight=tensor([2.])))
    seen = []
    loss = learn.loss_func
    learn.loss_func = lambda p, t: (seen.append((p.device, t.device)), loss(p, t))[1]
    learn.top_losses(3)
    assert set(seen) == {(learn.dls.device, learn.dls.device)}

def test_predicting_before_a_fit_and_without_data():
    learn = Learner(DataLoaders(None, None, 'cpu', ['no', 'yes']), net(), None)
    assert learn.predict(X[0])[0] in ('no', 'yes')
    assert learn.get_preds([(X, Y)])[0].shape == (70, 1)

# ---- Ctrl-C ----

@pytest.mark.parametrize('event,whole', dict(before_batch=3, after_loss=3, before_step=3, after_step=4, after_batch=4).items())
def test_ctrl_c_raised_by_a_callback_keeps_whole_steps(event, whole):
    def press(learn):
        if learn.iter == 3 and learn.training: raise KeyboardInterrupt
    learn = quiet(data(n=45))
    with pytest.raises(KeyboardInterrupt): learn.fit(3, cbs=Do(event, press))
    assert (len(learn.recorder.losses), len(learn.recorder.lrs), learn.interrupted) == (whole, whole, 'epoch 0, training batch 3')
    model,dls = net(),data(n=45)
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for _,(xb,yb) in zip(range(whole), dls.train): bce(model(xb), yb).backward(); opt.step(); opt.zero_grad()
    assert torch.equal(weights(model), weights(learn.model)) and learn.model[0].weight.grad is None
    learn.fit(1)
    assert len(learn.recorder.losses) == 5 and learn.interrupted is None and not learn.fitting

@pytest.mark.parametrize('event', ['before_fit', 'before_epoch', 'before_batch', 'after_pred', 'before_step', 'after_step', 'after_batch', 'after_validate', 'after_epoch'])
def test_a_real_ctrl_c_waits_for_the_end_of_the_batch(event):
    "It was swallowed, so that a loop over seeds went on with a half-trained model."
    pressed = []
    def press(learn):
        if not pressed: pressed.append(1); signal.raise_signal(signal.SIGINT)
    learn,old = quiet(),signal.getsignal(signal.SIGINT)
    cb = Flow()
    with pytest.raises(KeyboardInterrupt): learn.fit(3, cbs=[Do(event, press, 150), cb])
    assert cb.seen[-2:] == ['after_batch', 'after_fit'] and signal.getsignal(signal.SIGINT) is old
    assert learn.interrupted and len(learn.recorder.losses) in (1, 2, 4, 5) and not learn.fitting
    learn.fit(1); assert learn.interrupted is None

def test_a_second_ctrl_c_does_not_wait():
    def press(learn): signal.raise_signal(signal.SIGINT); signal.raise_signal(signal.SIGINT)
    learn,cb = quiet(),Flow()
    with pytest.raises(KeyboardInterrupt): learn.fit(3, cbs=[cb, Do('after_pred', press)])
    assert cb.seen[-2:] == ['after_pred', 'after_fit'] and not learn.recorder.losses
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

def test_a_ctrl_c_after_the_last_batch_is_not_lost():
    learn = quiet()
    with pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=Do('after_epoch', lambda l: signal.raise_signal(signal.SIGINT)))
    assert learn.interrupted is None and len(learn.recorder.values) == 1       # that fit was whole

def test_ctrl_c_while_the_optimizer_is_made():
    "There was no attribute 'epoch' yet."
    def opt(ps, lr): raise KeyboardInterrupt
    learn = quiet(opt_func=opt)
    with pytest.raises(KeyboardInterrupt): learn.fit(1)
    learn.opt_func = torch.optim.SGD
    learn.fit(1)

def test_ctrl_c_in_trials_is_one():
    import mnist_from_scratch.optimizers
    learn = quiet(loss_func=lambda p, t: (_ for _ in ()).throw(KeyboardInterrupt))
    was = all_of(learn)
    for go in (lambda: learn.lr_find(show_plot=False), lambda: trace(learn)):
        with pytest.raises(KeyboardInterrupt), redirect_stdout(io.StringIO()): go()
        assert same(was, all_of(learn)) and learn.opt is None

def test_an_ignored_ctrl_c_stays_ignored():
    "Under nohup, a fit switched it on again."
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        learn = quiet()
        learn.fit(2, cbs=Do('before_step', lambda l: signal.raise_signal(signal.SIGINT)))
        assert len(learn.recorder.losses) == 8 and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally: signal.signal(signal.SIGINT, old)

def test_a_fit_in_a_thread():
    learn,errors = quiet(),[]
    def go():
        try: learn.fit(2)
        except BaseException as e: errors.append(e)
    t = threading.Thread(target=go)
    t.start(); t.join()
    assert not errors and len(learn.recorder.losses) == 8

def test_ctrl_c_goes_on_when_an_after_fit_fails_too():
    def press(learn): raise KeyboardInterrupt
    def full(learn): raise OSError('disk full')
    with pytest.raises(KeyboardInterrupt): quiet().fit(1, cbs=[Do('before_step', press), Do('after_fit', full)])

CODE = '''
import signal, torch
from mnist_from_scratch.learner import *
class PressCtrlC(Callback):
    def before_step(self):
        if self.learn.iter == 9: signal.raise_signal(signal.SIGINT)
    def after_step(self): steps.append(1)
steps,xs = [],torch.randn(20, 5, 3)
dl = [(x, x[:, :1]) for x in xs]
learn = Learner(DataLoaders(dl, dl, 'cpu'), torch.nn.Linear(3, 1), torch.nn.functional.mse_loss)
try: learn.fit(3, cbs=PressCtrlC())
finally: print(len(steps), len(learn.recorder.losses), learn.interrupted, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
'''
def test_ctrl_c_ends_a_script():
    "It went on, and exited with 0."
    out = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    lines = out.stdout.splitlines()
    assert lines[-2] == 'Interrupted in epoch 0, training batch 9; whole steps are kept.'
    assert lines[-1] == '10 10 epoch 0, training batch 9 True' and 'KeyboardInterrupt' in out.stderr
    assert out.returncode in (-signal.SIGINT, 130, 1)

def test_losses_that_wait_are_not_lost():
    "As off the CPU, where the losses of an epoch are added at its end."
    def stop(learn):
        if learn.iter == 2: raise CancelFitException
    learn = quiet()
    learn.fit(1, cbs=Do('after_step', stop))
    assert (len(learn.recorder.losses), len(learn.recorder.lrs)) == (3, 3)

def test_moved_names_say_where_they_are():
    import mnist_from_scratch.learner as module
    for name in ('SGD', 'Adam', 'LRFinder', 'load_learner', 'MixedPrecision'):
        with pytest.raises(ImportError, match=f'import {name}'): getattr(module, name)
    with pytest.raises(AttributeError): module.nothing

def test_importing_it_loads_no_notebooks():
    code = '''import sys, mnist_from_scratch.learner, mnist_from_scratch.optimizers, mnist_from_scratch.saving
print([o for o in ('fastai', 'nbdev', 'IPython', 'accelerate', 'scipy', 'sklearn', 'fastprogress', 'webdataset') if o in sys.modules])'''
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    assert out.stdout == '[]\n', out
