"Optimizers beside PyTorch's, and a finder of learning rates that leaves no trace: the plumbing of chapter 08."
import math, types
from copy import deepcopy
from functools import partial

import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt, pytest, torch, torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn, tensor

from mnist_from_scratch.learner import *
from mnist_from_scratch.linear import DataLoader, TensorDataset, batch_accuracy
from mnist_from_scratch.optimizers import *
from mnist_from_scratch.tensors import check

torch.set_num_threads(1)
T = torch.optim
X = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
Y = (X[:, :1] > 0).float()
bce = F.binary_cross_entropy_with_logits

def net(seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 1))

def quiet(opt_func=Adam, lr=1e-3, model=None, loss_func=bce, **kwargs):
    train = DataLoader(TensorDataset(X, Y), 10, True, generator=torch.Generator().manual_seed(1))
    learn = Learner(DataLoaders(train, DataLoader(TensorDataset(X, Y), 50), 'cpu'), model or net(), loss_func, opt_func, lr, **kwargs)
    learn.bar = False
    return learn

def weights(ps): return nn.utils.parameters_to_vector(list(ps)).detach().clone()

def hundred_steps(opt_func, dtype=torch.float32, split=False, **kwargs):
    "A hundred steps of a falling rate; one parameter has no gradient, and one has it in each third step only."
    model,idle,odd = net().to(dtype),nn.Parameter(torch.ones(3, dtype=dtype)),nn.Parameter(torch.ones(2, dtype=dtype))
    ps = [*model.parameters(), idle, odd]
    groups = [{'params': iter(ps[:2]), 'lr': 0.001}, {'params': ps[2:]}] if split else ps
    opt = opt_func(groups, lr=0.01, **kwargs)
    for i in range(100):
        for g in opt.param_groups: g['lr'] *= 0.98
        loss = bce(model(X[i % 10*10:][:10].to(dtype)), Y[i % 10*10:][:10].to(dtype))
        if i % 3 == 0: loss = loss + (odd**2).sum()
        loss.backward(); opt.step(); opt.zero_grad()
    assert torch.equal(idle.detach(), torch.ones(3, dtype=dtype)) and all(p.grad is None for p in ps)
    return weights(ps)

PAIRS = [((SGD, {}), (T.SGD, {})), ((SGD, dict(mom=0.9)), (T.SGD, dict(momentum=0.9))),
    ((Adam, {}), (T.Adam, dict(betas=(0.9, 0.99), eps=1e-5))), ((Adam, dict(mom=0.8, sqr_mom=0.999, eps=1e-8)), (T.Adam, dict(betas=(0.8, 0.999)))),
    ((Adam, dict(mom=0., sqr_mom=0.5)), (T.Adam, dict(betas=(0., 0.5), eps=1e-5))), ((AdamW, {}), (T.AdamW, dict(betas=(0.9, 0.99), eps=1e-5))),
    ((AdamW, dict(wd=1., mom=0.7)), (T.AdamW, dict(betas=(0.7, 0.99), eps=1e-5, weight_decay=1.))), ((AdamW, dict(wd=0.)), (Adam, {}))]

@pytest.mark.parametrize('ours,theirs', PAIRS)
def test_a_hundred_steps_are_those_of_pytorch(ours, theirs):
    for dtype,tol in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        for split in (False, True):
            a,b = (hundred_steps(f, dtype, split, **kwargs) for f,kwargs in (ours, theirs))
            check(a, b, tol=0, atol=tol)

@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.floats(-100, 100), min_size=2, max_size=2), min_size=1, max_size=8), st.floats(0.001, 1), st.floats(0, 0.99))
def test_any_gradients_move_as_with_pytorch(grads, lr, mom):
    for ours,theirs in ((partial(SGD, mom=mom), partial(T.SGD, momentum=mom)), (partial(Adam, mom=mom), partial(T.Adam, betas=(mom, 0.99), eps=1e-5)),
                        (partial(AdamW, mom=mom, wd=0.1), partial(T.AdamW, betas=(mom, 0.99), eps=1e-5, weight_decay=0.1))):
        ps = [nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2)]
        opts = ours(ps[:1], lr),theirs(ps[1:], lr)
        for g in grads:
            for p,opt in zip(ps, opts): p.grad = tensor(g, dtype=torch.float64); opt.step()
        check(ps[0].detach(), ps[1].detach(), tol=1e-9, atol=1e-9)

def test_groups_and_their_settings():
    ps = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    opt = Adam([{'params': (p for p in ps[:1]), 'lr': 0.1, 'mom': 0.5, 'name': 'first'}, {'params': ps[1:]}], 0.01)
    assert [(g['lr'], g['mom'], g['sqr_mom'], len(g['params'])) for g in opt.param_groups] == [(0.1, 0.5, 0.99, 1), (0.01, 0.9, 0.99, 2)]
    assert opt.param_groups[0]['name'] == 'first' and not opt.state
    opt = AdamW([{'params': ps[:1], 'wd': 0.5}, {'params': ps[1:]}], 0.1)
    for p in ps: p.grad = torch.zeros(2)
    opt.step()
    check(torch.stack([p.detach()[0] for p in ps]), tensor([0.95, 0.999, 0.999]), tol=1e-6)
    given = [{'params': ps}]
    SGD(given, 0.1).param_groups[0]['lr'] = 5.
    assert given == [{'params': ps}]                       # what was given is not changed

def test_parameters_in_any_form():
    p = nn.Parameter(torch.ones(2))
    for form in (p, [p], (p,), iter([p]), {'a': p}.values()):
        p.data.fill_(1.); p.grad = torch.ones(2)
        SGD(form, 0.5).step()
        check(p.detach(), torch.full((2,), 0.5))
    model = net()
    used = model.parameters()
    SGD(used, 0.1)
    for nothing in (used, [], iter(())):
        with pytest.raises(ValueError, match='used up'): SGD(nothing, 0.1)
    with pytest.raises(TypeError): Adam([p], 0.1, betas=(0.9, 0.99))

def test_no_optimizer_keeps_or_changes_the_gradient():
    for opt_func in (SGD, partial(SGD, mom=0.9), Adam, AdamW):
        p = nn.Parameter(torch.ones(3))
        p.grad = g = tensor([1., 2., 3.])
        opt = opt_func([p], lr=0.1)
        opt.step(); opt.step(); opt.step()
        check(g, tensor([1., 2., 3.]))
        assert p.grad is g and all(v is not g for v in opt.state[p].values())
        assert all(not v.requires_grad for v in opt.state[p].values() if torch.is_tensor(v)) and p.requires_grad

def test_the_first_step_of_adam_is_its_rate():
    p = nn.Parameter(torch.ones(3))
    p.grad = tensor([100., -1., 0.01])
    Adam([p], lr=0.1).step()
    check(p.detach(), tensor([0.9, 1.1, 0.9001]), tol=1e-4)

def test_momentum_may_come_and_go():
    "At a momentum of 0 the velocity rests, as PyTorch's does."
    a,b = (nn.Parameter(torch.ones(2)) for _ in range(2))
    ours,theirs = SGD([a], 0.1, mom=0.9),T.SGD([b], 0.1, momentum=0.9)
    for mom in (0.9, 0.5, 0., 0., 0.9):
        ours.param_groups[0]['mom'] = theirs.param_groups[0]['momentum'] = mom
        for p,opt in ((a, ours), (b, theirs)): p.grad = tensor([1., -2.])*(1 + mom); opt.step()
        check(a.detach(), b.detach(), tol=1e-6)

def test_they_work_in_fastais_learner():
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import fastai.callback.progress, fastai.callback.schedule
        from fastai import optimizer
        from fastai.data.core import DataLoaders as FastaiDataLoaders
        from fastai.learner import Learner as FastaiLearner
    def fitted(opt_func):
        dls = quiet().dls
        learn = FastaiLearner(FastaiDataLoaders(dls.train, dls.valid, device='cpu'), net(), bce, opt_func=opt_func)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 0.05)
        return weights(learn.model.parameters())
    for ours,theirs in ((partial(Adam, mom=0.9), partial(optimizer.Adam, wd=0.)), (partial(SGD, mom=0.9), partial(optimizer.SGD, mom=0.9))):
        check(fitted(partial(optimizer.OptimWrapper, opt=ours)), fitted(theirs), tol=0, atol=1e-5)

# ---- the finder ----

def all_of(learn):
    "All that a trial could have changed."
    memory = [learn.opt.state.get(p) for p in learn.model.parameters()] if learn.opt else None
    return deepcopy((dict(learn.model.state_dict()), [m.training for m in learn.model.modules()], memory,
        {k: v for k,v in vars(learn.recorder).items() if k != 'learn'}, [g.get_state() for g in generators(learn).values()]))

def same(a, b):
    if torch.is_tensor(a): return torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a == b

class KeepBest(Callback):
    "As in chapter 05: it broke the finder."
    def before_fit(self): self.best,self.weights = -math.inf,None
    def after_epoch(self):
        if self.learn.recorder.values[-1][1] > self.best: self.weights = deepcopy(self.learn.model.state_dict())
    def after_fit(self): self.learn.model.load_state_dict(self.weights)

class Count(Callback):
    n = 0
    def after_step(self): self.n += 1

class EveryOther(Callback):
    def before_step(self):
        if self.learn.iter % 2: raise CancelBatchException

def test_finding_leaves_the_learner_as_it_was_whatever_callbacks_it_has():
    "KeepBest made it raise, a schedule among the callbacks overrode its rates, a counter kept its steps."
    alone = quiet().lr_find(show_plot=False)
    for cbs in ([], KeepBest(), ParamScheduler({'lr': lambda done: 1.}), Count(), EveryOther(), [Count(), KeepBest()]):
        learn = quiet(cbs=cbs)
        was = all_of(learn)
        assert learn.lr_find(show_plot=False) == alone
        assert same(was, all_of(learn)) and learn.opt is None and learn.bar is False
        assert all(cb.n == 0 for cb in learn.cbs if isinstance(cb, Count)) and not learn.fitting

def test_finding_after_a_fit():
    for opt_func in (Adam, partial(SGD, mom=0.9), partial(T.SGD, momentum=0.9), T.AdamW):
        learn = quiet(opt_func, metrics=batch_accuracy, model=nn.Sequential(nn.Dropout(0.5), net()))
        learn.fit(2)
        for p in learn.model[1][0].parameters(): p.requires_grad_(False)        # frozen, after the optimizer was made
        learn.model.eval()
        was,opt = all_of(learn),learn.opt
        assert learn.lr_find(show_plot=False, num_it=20).minimum > 0
        assert same(was, all_of(learn)) and learn.opt is opt and not learn.model.training

def test_what_the_finder_refuses():
    for kwargs in (dict(num_it=4), dict(start_lr=1., end_lr=0.1), dict(start_lr=0.), dict(start_lr=-1.)):
        with pytest.raises(FitError, match='at least 10'): quiet().lr_find(**kwargs)
    with pytest.raises(FitError, match='start_lr'): quiet(loss_func=lambda p, t: bce(p, t)*math.inf).lr_find(show_plot=False)
    def bad(p, t): raise KeyError('mine')
    with pytest.raises(KeyError): quiet(loss_func=bad).lr_find()

def test_the_finders_suggestion():
    learn,seen = quiet(),[]
    with learn.twin(LRFinder(1e-4, 10., 50)) as twin: twin.fit(51, lr=1e-4)
    lrs = twin.recorder.lrs
    check(tensor(lrs[:3]), tensor([1e-4*(1e5)**(i/50) for i in range(3)]), tol=1e-5)
    assert all(b > a for a,b in zip(lrs, lrs[1:])) and twin.recorder.values == [] and len(lrs) <= 51
    found = learn.lr_find(1e-4, 10., 50, show_plot=False)
    i = min(range(5, len(lrs) - 5), key=twin.recorder.losses.__getitem__)
    assert math.isclose(found.minimum, lrs[i]/10) and found == SuggestedLRs(found.minimum)

def test_the_finder_with_groups_streams_and_no_validation():
    def two(ps, lr): return SGD([{'params': ps[:2], 'lr': lr/10}, {'params': ps[2:]}], lr)
    learn = quiet(two)
    with learn.twin(LRFinder(1e-4, 1., 20)) as twin: twin.fit(21, lr=1e-4)
    a,b = (g['lr'] for g in twin.opt.param_groups)
    assert math.isclose(a*10, b) and b == twin.recorder.lrs[-1]
    class Stream:
        def __iter__(self): return iter(DataLoader(TensorDataset(X, Y), 10))
    learn = quiet()
    learn.dls = DataLoaders(Stream(), device='cpu')
    assert learn.lr_find(show_plot=False).minimum > 0

# ---- plots and the rung ----

def test_plots():
    learn = quiet(metrics=batch_accuracy)
    for ax in (learn.recorder.plot_loss(), *learn.recorder.plot_sched()): assert ax.get_xlabel() == 'step'     # before a fit it raised
    learn.fit_one_cycle(2, 0.02)
    ax = learn.recorder.plot_loss(skip_start=3)
    assert [len(l.get_xdata()) for l in ax.lines] == [17, 2] and ax.get_yscale() == 'log'
    assert list(ax.lines[1].get_xdata()) == [10, 20]
    axs = learn.recorder.plot_sched()
    assert [list(a.lines[0].get_ydata()) for a in axs] == [learn.recorder.lrs, learn.recorder.moms]
    learn.dls = DataLoaders(learn.dls.train, device='cpu')
    learn.fit(2)
    _,mine = plt.subplots()
    assert learn.recorder.plot_loss(ax=mine) is mine and len(mine.lines) == 1
    learn.lr_find()
    plt.close('all')

def test_the_rung():
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (300,), generator=g)*2 + 3                    # labels 3, 5, 7
    x = 0.2*torch.rand(300, 28, 28, generator=g)
    for label in (3, 5, 7): x[y == label, label*2:label*2 + 4] += 0.5
    for which in ((3, 7), (3, 5, 7)):
        some = sum(y == o for o in which).bool()
        scores,n = fit_one_cycle_mlp(x[some], y[some], 4, 1)
        out = scores(x[some])
        k = len(which)
        assert out.shape == (some.sum(), k) and n == 784*30 + 30 + 31*(1 if k == 2 else 3)
        assert (tensor(which)[out.argmax(1)] == y[some]).float().mean() > 0.95
        again,_ = fit_one_cycle_mlp(x[some], y[some], 4, 1)
        assert torch.equal(out, again(x[some]))
