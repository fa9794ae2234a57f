"Files that are whole or refused, and fits that go on to the bit: the plumbing of chapter 13."
import hashlib, json, os, pickle, random, signal, subprocess, sys, time
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np, pytest, torch, torch.nn.functional as F
from fastcore.foundation import L
from hypothesis import given, settings, strategies as st
from torch import nn, tensor
from torch.utils import data as torch_data

import mnist_from_scratch.saving as saving
from mnist_from_scratch.learner import *
from mnist_from_scratch.linear import DataLoader, TensorDataset, batch_accuracy
from mnist_from_scratch.optimizers import SGD, Adam, AdamW
from mnist_from_scratch.saving import *

torch.set_num_threads(1)
T = torch.optim
X = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
Y = (X[:, :1] > 0).float()
bce = F.binary_cross_entropy_with_logits

def same(a, b):
    if torch.is_tensor(a): return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7.), b.nan_to_num(7.))
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a == b

def ours(g): return DataLoader(TensorDataset(X, Y), 10, True, generator=g)
def theirs(g): return torch_data.DataLoader(TensorDataset(X, Y), 10, shuffle=True, generator=g)
def sampler(g):
    ds = TensorDataset(X, Y)
    return torch_data.DataLoader(ds, 10, sampler=torch_data.RandomSampler(ds, generator=g))

class Noise(Callback):
    "Draws from a generator of its own."
    def __init__(self, seed=5): self.g = torch.Generator().manual_seed(seed)
    def before_batch(self):
        if self.learn.training: self.learn.xb = self.learn.xb + 0.1*torch.randn(self.learn.xb.shape, generator=self.g)

def new(opt_func=Adam, seed=1, train=ours, cbs=(), hidden=5, **kwargs):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Dropout(0.2), nn.BatchNorm1d(hidden), nn.Linear(hidden, 1))
    dls = DataLoaders(train(torch.Generator().manual_seed(seed)), DataLoader(TensorDataset(X, Y), 30), 'cpu', ('no', 'yes'))
    learn = Learner(dls, model, bce, opt_func, 0.05, batch_accuracy, [*cbs], **kwargs)
    learn.bar = False
    return learn

class Stop(Callback):
    "Leaves a fit in the middle of a batch, as if the process had gone."
    order = 95
    def __init__(self, epoch, batch=3): self.at = epoch,batch
    def after_step(self):
        if (self.learn.epoch, self.learn.iter) == self.at: raise SystemExit

def stopped(learn, call, epoch, path):
    with pytest.raises(SystemExit): call(learn, cbs=[Checkpoint(path), Stop(epoch)])
    return path

def fit(learn, cbs=None): learn.fit(4, cbs=cbs)
def cycle(learn, cbs=None): learn.fit_one_cycle(4, 0.02, cbs=cbs)

# ---- files ----

STATE = {'model': {'w': torch.arange(6.).view(2, 3), 'half': torch.ones(2).bfloat16(), 'n': tensor(3), 'mask': tensor([True, False]), 'none': torch.zeros(0, 4)},
         'nested': [{'a': [1, 2.5, 'three', None, True], 'b': tensor([float('nan'), -0.])}, []], 'empty': {}, 'text': 'Ж \n "quoted"', 'inf': float('inf')}

def test_there_and_back(tmp_path):
    assert same(read_state(write_state(STATE, tmp_path/'deep'/'er'/'s')), STATE)
    tied = torch.ones(3)
    back = read_state(write_state({'a': tied, 'b': tied, 'c': torch.arange(10.)[::3], 'd': torch.ones(2, 3).t(), 'e': nn.Parameter(torch.ones(2))}, tmp_path/'s'))
    assert same(back['a'], tied) and same(back['b'], tied) and same(back['c'], torch.arange(10.)[::3]) and back['d'].shape == (3, 2)
    assert not back['e'].requires_grad
    back = read_state(write_state({'n': np.float64(0.5), 'i': np.int64(3), 's': np.str_('x'), 'a': np.array([1, 2]), 't': (1, 2)}, str(tmp_path/'s')))
    assert back == {'n': 0.5, 'i': 3, 's': 'x', 'a': [1, 2], 't': [1, 2]} and type(back['n']) is float

PLAIN = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False) | st.text(max_size=5) |
    st.builds(torch.tensor, st.lists(st.floats(-9, 9, width=32), max_size=3)),
    lambda o: st.lists(o, max_size=3) | st.dictionaries(st.text('abc/.', max_size=3), o, max_size=3), max_leaves=8)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.text('abc/.', max_size=3), PLAIN, max_size=4))
def test_any_state_comes_back_or_is_refused(state):
    file = Path(os.environ['HYPOTHESIS_STORAGE_DIRECTORY'])/'state'
    try: write_state(state, file)
    except ValueError as e: assert 'two tensors' in str(e)
    else: assert same(read_state(file), state)

def test_two_tensors_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match='two tensors'): write_state({'a': {'b': tensor(1)}, 'a/b': tensor(2)}, tmp_path/'s')
    assert list(tmp_path.iterdir()) == []

def test_what_is_no_plain_value_is_refused_and_the_old_file_stays(tmp_path):
    file = write_state({'a': 1}, tmp_path/'s')
    for odd in (Path('x'), object(), {1, 2}, b'bytes', lambda: 0):
        with pytest.raises(TypeError): write_state({'odd': odd}, file)
    assert read_state(file) == {'a': 1} and [o.name for o in tmp_path.iterdir()] == ['s']

def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    learn = new()
    file = learn.save(tmp_path/'s')
    whole = file.read_bytes()
    write_bytes = Path.write_bytes
    def cut_off(self, data): write_bytes(self, data[:len(data)//2]); raise OSError('disk full')
    monkeypatch.setattr(Path, 'write_bytes', cut_off)
    learn.fit(1)
    with pytest.raises(OSError, match='disk full'): learn.save(file)
    with pytest.raises(FitError, match='Checkpoint.before_fit raised OSError'): learn.fit(1, cbs=Checkpoint(file))
    assert file.read_bytes() == whole and [o.name for o in tmp_path.iterdir()] == ['s']

def test_every_flipped_bit_is_refused(tmp_path):
    file = write_state({'w': torch.arange(5.), 'n': [1, 'two']}, tmp_path/'s')
    raw,bad,read = file.read_bytes(),tmp_path/'bad',[]
    for i in range(8*len(raw)):
        flipped = bytearray(raw)
        flipped[i//8] ^= 1 << i%8
        bad.write_bytes(flipped)
        try: read.append((i, read_state(bad)))
        except (ValueError, OSError): pass
    assert read == []

def test_flipped_bits_of_a_saved_learner_change_nothing(tmp_path):
    learn = new()
    learn.fit(1)
    raw,rng = learn.save(tmp_path/'s').read_bytes(),random.Random(0)
    was,bad = learn.state_dict(),tmp_path/'bad'
    for i in rng.sample(range(8*len(raw)), 200):
        flipped = bytearray(raw)
        flipped[i//8] ^= 1 << i%8
        bad.write_bytes(flipped)
        with pytest.raises(ValueError, match='bad'): learn.load(bad)
    assert same(was, learn.state_dict())

def test_files_of_other_kinds_are_refused(tmp_path):
    ran = []
    class Evil:
        def __reduce__(self): return exec, ("import builtins; builtins.ran = True",)
    from safetensors.torch import save
    raw = write_state(STATE, tmp_path/'s').read_bytes()
    torch.save({'model': Evil()}, tmp_path/'evil.pt')
    deep = dict(plain='['*10**5, sha256='')
    for name,content in dict(empty=b'', short=b'abc', cut=raw[:-1], half=raw[:len(raw)//2], longer=raw + b'x', pickle=pickle.dumps(Evil()),
            torch=(tmp_path/'evil.pt').read_bytes(), text=b'{"a": 1}', zeros=bytes(1000), huge=b'\xff'*8 + raw[8:], foreign=save({'w': torch.ones(2)}),
            foreign_meta=save({'w': torch.ones(2)}, {'a': 'b'}), deep=save({'w': torch.ones(2)}, deep)).items():
        (tmp_path/name).write_bytes(content)
        for read in (read_state, new().load, new().resume, lambda f: load_learner(f, nn.Linear(8, 1))):
            with pytest.raises(ValueError, match=name): read(tmp_path/name)
    import builtins
    assert not hasattr(builtins, 'ran') and not ran

def test_a_wrong_checksum_over_right_tensors_is_refused(tmp_path):
    from safetensors.torch import save
    plain = json.dumps({'w': {'tensor': '/w'}})
    for digest in ('', '0'*64, hashlib.sha256(plain.encode()).hexdigest()):
        (tmp_path/'s').write_bytes(save({'/w': torch.ones(2)}, {'plain': plain, 'sha256': digest}))
        with pytest.raises(ValueError, match='wrong checksum'): read_state(tmp_path/'s')
    (tmp_path/'s').write_bytes(save({'/w': torch.ones(2)}, {'plain': json.dumps({'w': {'tensor': '/v'}}), 'sha256': ''}))
    with pytest.raises(ValueError, match='damaged'): read_state(tmp_path/'s')

def test_files_that_are_not_there(tmp_path):
    for read in (read_state, new().load, new().resume, lambda f: load_learner(f, nn.Linear(8, 1))):
        with pytest.raises(FileNotFoundError): read(tmp_path/'nowhere')
    with pytest.raises(OSError): read_state(tmp_path)

def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    "save('~/x') made a folder called ~."
    monkeypatch.setenv('HOME', str(tmp_path)); monkeypatch.setenv('USERPROFILE', str(tmp_path)); monkeypatch.chdir(tmp_path)
    learn = new()
    assert learn.save('~/a/x') == tmp_path/'a'/'x' and learn.export('~/y') == tmp_path/'y'
    learn.fit(1, cbs=Checkpoint('~/z'))
    assert sorted(o.name for o in tmp_path.iterdir()) == ['a', 'y', 'z']
    new().load('~/a/x'); new().resume('~/z'); load_learner('~/y', new().model); read_state('~/y')

# ---- states ----

def test_a_state_is_a_copy_and_comes_back_whole():
    "After a fit the history went back, and the weights did not."
    learn = new()
    learn.fit_one_cycle(2)
    state = learn.state_dict()
    was = deepcopy(state)
    learn.fit(2)
    assert same(was, state) and not same(state, learn.state_dict())
    learn.load_state_dict(state)
    assert same(was, learn.state_dict())
    learn.fit(1)
    assert same(was, state)                                   # what was loaded is not written to
    a = new(seed=7); a.load_state_dict(state)
    assert same(was, a.state_dict()) and a.recorder.names == ['train_loss', 'valid_loss', 'batch_accuracy']

def test_what_does_not_fit_changes_nothing():
    learn = new()
    learn.fit(1)
    good = learn.state_dict()
    def without(key, sub): return dict(good, **{key: {k: v for k,v in good[key].items() if k != sub}})
    def with_(key, sub, value): return dict(good, **{key: dict(good[key], **{sub: value})})
    bad = [without('model', '0.bias'), with_('model', 'more', torch.ones(1)), with_('model', '0.bias', torch.ones(3)), without('rng', 'PyTorch'),
           with_('rng', 'PyTorch', torch.zeros(5).byte()), with_('rng', 'other', good['rng']['PyTorch']), without('history', 'lrs'), without('history', 'avg'),
           with_('opt', 'kind', 'torch.optim.sgd.SGD'), without('opt', 'state'), {k: v for k,v in good.items() if k != 'history'}, {k: v for k,v in good.items() if k != 'model'},
           new(hidden=6).state_dict()]
    other = new(seed=3)
    other.fit(2)
    was,opt = other.state_dict(),other.opt
    for state in bad:
        with pytest.raises((ValueError, KeyError)): other.load_state_dict(state)
        assert same(was, other.state_dict()) and other.opt is opt
    other.fit(1)

def test_optimizers_of_another_make_are_refused(tmp_path):
    for a,b in ((SGD, T.SGD), (T.SGD, SGD), (T.Adam, Adam), (Adam, AdamW), (T.Adam, T.AdamW)):
        mine,other = new(a),new(b, seed=2)
        mine.fit(1); other.fit(1)
        was = other.state_dict()
        with pytest.raises(ValueError, match='optimizer kind'): other.load(mine.save(tmp_path/'s'))
        assert same(was, other.state_dict())
        other.load(tmp_path/'s', with_opt=False)
        assert same(other.state_dict()['model'], mine.state_dict()['model']) and same(other.state_dict()['opt'], was['opt'])

def test_a_state_saved_with_other_parameters_frozen_fits():
    "It was taken over, and the next fit died."
    for opt in (partial(SGD, mom=0.9), Adam, T.AdamW):
        a,b = new(opt),new(opt)
        for p in a.model[0].parameters(): p.requires_grad_(False)
        for p in b.model[4].parameters(): p.requires_grad_(False)
        a.fit(1); b.fit(1)
        b.load_state_dict(a.state_dict())
        was = b.model[0].weight.clone()
        b.fit(2); assert not torch.equal(was, b.model[0].weight)

def test_a_generator_more_or_less_is_named(tmp_path):
    file = new().save(tmp_path/'s')
    without = new(train=lambda g: DataLoader(TensorDataset(X, Y), 10, True))
    with pytest.raises(ValueError, match='s does not fit: random generator dls.train.generator'): without.load(file)
    without.load(file, with_opt=False)
    with pytest.raises(ValueError, match='Noise.g'): new(cbs=[Noise()]).load(file)

def test_before_the_first_fit_and_after_load(tmp_path):
    import mnist_from_scratch.optimizers
    file = new().save(tmp_path/'s')
    learn = new(seed=4).load(file)
    assert learn.opt is None and learn.recorder.losses == []
    learn.fit(1)
    file = learn.save(file)
    learn = new(seed=4).load(file)
    assert learn.recorder.names == ['train_loss', 'valid_loss', 'batch_accuracy'] and len(learn.recorder.lrs) == 6
    learn.recorder.plot_loss()

def test_tied_weights(tmp_path):
    def tied():
        learn = new()
        a,b = nn.Linear(8, 8),nn.Linear(8, 8)
        b.weight = a.weight
        learn.model = nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), nn.Linear(8, 1))
        return learn
    a,b = tied(),tied()
    a.fit(1); b.load(a.save(tmp_path/'s'))
    assert b.model[0].weight is b.model[2].weight and same(a.state_dict(), b.state_dict())
    a.fit(1); b.fit(1)
    assert torch.equal(a.model[0].weight, b.model[0].weight)

# ---- to predict elsewhere ----

def test_export_and_load_learner(tmp_path):
    learn = new()
    learn.fit(2)
    file = learn.export(tmp_path/'e')
    assert read_state(file).keys() == {'model', 'vocab', 'interrupted'} and file.stat().st_size < learn.save(tmp_path/'s').stat().st_size/2
    for f in (file, tmp_path/'s'):
        reader = load_learner(f, new(seed=8).model)
        assert torch.equal(reader.get_preds(learn.dls.valid)[0], learn.get_preds()[0]) and reader.predict(X[0])[0] == learn.predict(X[0])[0]
        with pytest.raises(ValueError, match='does not fit'): load_learner(f, nn.Linear(8, 1))
    other = new(seed=8).load(file)                          # weights alone
    assert same(other.state_dict()['model'], learn.state_dict()['model']) and other.opt is None

def test_class_names_of_all_kinds(tmp_path):
    for vocab in (np.array(['7', '3']), L('7', '3'), ('7', '3'), np.array([7, 3]), range(2), None):
        learn = new()
        learn.dls.vocab = vocab
        learn.fit(1, lr=np.float64(0.1), cbs=Checkpoint(tmp_path/'c'))
        learn.recorder.values[-1][0] = np.float64(learn.recorder.values[-1][0])
        reader = load_learner(learn.export(tmp_path/'e'), new().model)
        a,b = reader.predict(X[0]),learn.predict(X[0])
        assert (a[0], a[1]) == (b[0], b[1]) and torch.equal(a[2], b[2])
        new().load(learn.save(tmp_path/'s')); new().resume(tmp_path/'c')
    learn.dls.vocab = [Path('7'), Path('3')]
    with pytest.raises(TypeError): learn.save(tmp_path/'odd')
    assert not (tmp_path/'odd').exists()

# ---- on from a checkpoint ----

@pytest.mark.parametrize('call', [fit, cycle])
@pytest.mark.parametrize('opt', [partial(SGD, mom=0.9), Adam, AdamW, T.AdamW, partial(T.SGD, momentum=0.9), T.RMSprop, partial(T.Adam, amsgrad=True)])
def test_a_resumed_fit_is_equal_to_the_bit(opt, call, tmp_path):
    whole = new(opt, cbs=[Noise()])
    call(whole)
    end = whole.state_dict()
    whole.fit(1)                                            # and so is the next one
    for epoch in (0, 2, 3):
        path = stopped(new(opt, cbs=[Noise()]), call, epoch, tmp_path/f'{epoch}')
        assert read_state(path)['done'] == epoch
        resumed = new(opt, seed=9, cbs=[Noise(9)])
        resumed.resume(path)
        assert same(end, resumed.state_dict()) and read_state(path)['done'] == 4
        again = new(opt, seed=8, cbs=[Noise(8)])
        again.resume(path)                                  # it is over: restored
        assert same(end, again.state_dict()) and len(again.recorder.values) == 4
        again.fit(1)
        assert same(whole.state_dict(), again.state_dict())

@pytest.mark.parametrize('train', [ours, theirs, sampler])
def test_orders_drawn_by_loaders_and_samplers_go_on(train, tmp_path):
    "The generator of a RandomSampler within a loader was not found."
    whole = new(train=train)
    cycle(whole)
    resumed = new(train=train, seed=9)
    resumed.resume(stopped(new(train=train), cycle, 2, tmp_path/'c'))
    assert same(whole.state_dict(), resumed.state_dict())

def test_generators_of_callbacks_given_for_one_fit(tmp_path):
    whole,path = new(),tmp_path/'c'
    cycle(whole, cbs=Noise())
    with pytest.raises(SystemExit): cycle(new(), cbs=[Noise(), Checkpoint(path), Stop(2)])
    with pytest.raises(ValueError, match='Noise.g'): new().resume(path)
    resumed = new(seed=9)
    resumed.resume(path, cbs=Noise(7))
    assert same(whole.state_dict(), resumed.state_dict())

def test_a_checkpoint_within_a_cycle_leaves_no_momentum_behind(tmp_path):
    "It resumed with 0.8728 in place of 0.9 at the end."
    path = stopped(new(partial(SGD, mom=0.9)), cycle, 2, tmp_path/'c')
    learn = new(partial(SGD, mom=0.9)).load(path)
    learn.fit(1)
    assert set(learn.recorder.moms) == {0.9} and learn.opt.param_groups[0]['lr'] == 0.05

def test_a_resumed_fit_may_die_again(tmp_path):
    whole = new()
    cycle(whole)
    path = stopped(new(), cycle, 1, tmp_path/'c')
    for epoch in (1, 2, 2, 3):
        with pytest.raises(SystemExit): new(seed=epoch).resume(path, cbs=Stop(epoch))
        assert read_state(path)['done'] == epoch
    resumed = new(seed=9)
    resumed.resume(path)
    assert same(whole.state_dict(), resumed.state_dict())

def test_a_checkpoint_that_a_learner_always_has(tmp_path):
    whole,path = new(cbs=[Checkpoint(tmp_path/'w')]),tmp_path/'c'
    cycle(whole)
    with pytest.raises(SystemExit): cycle(new(cbs=[Checkpoint(path)]), cbs=Stop(2))
    resumed = new(seed=9, cbs=[Checkpoint(path)])
    resumed.resume(path)
    assert same(whole.state_dict(), resumed.state_dict()) and read_state(path)['done'] == 4
    assert [type(o).__name__ for o in resumed.cbs].count('Checkpoint') == 1

def test_resume_takes_checkpoints_only(tmp_path):
    learn = new()
    with pytest.raises(ValueError, match='no checkpoint'): learn.resume(learn.save(tmp_path/'s'))
    path = stopped(new(), cycle, 1, tmp_path/'c')
    state = read_state(path)
    (tmp_path/'victim').write_text('mine')
    for name in ('export', 'save', '__init__', 'state_dict'):
        write_state(dict(state, call=[name, {'file': str(tmp_path/'victim'), 'n_epoch': 5}]), path)
        with pytest.raises(Exception): new().resume(path)
    assert (tmp_path/'victim').read_text() == 'mine'
    other = new(hidden=6)
    was = other.state_dict()
    write_state(state, path)
    with pytest.raises(ValueError, match='c does not fit'): other.resume(path)
    assert same(was, other.state_dict()) and other.start_epoch == 0

def test_a_fit_of_no_epochs(tmp_path):
    learn = new()
    learn.fit(0, cbs=Checkpoint(tmp_path/'c'))
    assert read_state(tmp_path/'c')['done'] == 0
    new().resume(tmp_path/'c')

def test_the_next_fit_begins_at_its_beginning(tmp_path):
    learn = new()
    learn.resume(stopped(new(), cycle, 2, tmp_path/'c'))
    learn.fit(2)
    assert len(learn.recorder.values) == 2 and learn.start_epoch == 0

# ---- Ctrl-C ----

class PressCtrlC(Callback):
    def before_step(self):
        if (self.learn.epoch, self.learn.iter) == (1, 2): signal.raise_signal(signal.SIGINT)

def test_what_was_interrupted_stays_so_in_every_file(tmp_path, capsys):
    "A later save wrote a half-trained model as finished."
    learn,path = new(),tmp_path/'c'
    with pytest.raises(KeyboardInterrupt): cycle(learn, cbs=[PressCtrlC(), Checkpoint(path)])
    said = 'interrupted in epoch 1, training batch 2'
    for read in (lambda: new().load(learn.save(tmp_path/'s')), lambda: new().load(tmp_path/'s', with_opt=False),
                 lambda: load_learner(learn.export(tmp_path/'e'), new().model),
                 lambda: new().load(new().load(tmp_path/'s', with_opt=False).export(tmp_path/'e2'))):
        capsys.readouterr()
        back = read()
        assert said in capsys.readouterr().out and back.interrupted == 'epoch 1, training batch 2'
    assert len(learn.recorder.losses) == 9
    back.fit(1)
    assert back.interrupted is None
    capsys.readouterr()
    new().load(back.save(tmp_path/'s'))
    assert capsys.readouterr().out == ''
    whole = new()
    cycle(whole)
    resumed = new(seed=9)
    resumed.resume(path)                                    # the last whole epoch, and on from there
    assert same(whole.state_dict(), resumed.state_dict())

# ---- killed ----

fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs a system with fork')

def killed_after(seconds, work):
    "Run `work` in another process, and kill it with signal 9."
    pid = os.fork()
    if not pid:
        try: work()
        finally: os._exit(1)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

@fork
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_killed_at_random_moments(tmp_path):
    whole,rng = new(cbs=[Noise()]),random.Random(1)
    start = time.perf_counter()
    whole.fit_one_cycle(12, 0.02, cbs=Checkpoint(tmp_path/'w'))
    seconds,done = time.perf_counter() - start,[]
    for i in range(8):
        path = tmp_path/f'{i}'
        killed_after(rng.uniform(0.1, 1)*seconds, lambda: new(cbs=[Noise()]).fit_one_cycle(12, 0.02, cbs=Checkpoint(path)))
        if not path.exists(): continue                      # before the first one was written
        done.append(read_state(path)['done'])
        resumed = new(seed=9, cbs=[Noise(9)])
        resumed.resume(path)
        assert same(whole.state_dict(), resumed.state_dict())
    assert len(set(done)) > 1

@fork
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path):
    file,rng = tmp_path/'s',random.Random(2)
    write_state({'i': 0, 'w': torch.zeros(100_000)}, file)
    def work():
        for i in range(10**6): write_state({'i': i, 'w': torch.full((100_000,), float(i))}, file)
    for _ in range(25):
        killed_after(rng.uniform(0.005, 0.03), work)
        state = read_state(file)
        assert state['w'].unique().tolist() == [state['i']]

CODE = '''
import os, sys
sys.path.insert(0, sys.argv[1])
from test_saving import *
class Kill(Callback):
    def before_step(self):
        if (self.learn.epoch, self.learn.iter) == (2, 3): os.kill(os.getpid(), getattr(signal, 'SIGKILL', 15))
if sys.argv[3] == 'die': cycle(new(), cbs=[Checkpoint(sys.argv[2]), Kill()])
learn = new(seed=9)
learn.resume(sys.argv[2])
learn.save(sys.argv[3])
'''
def test_other_processes(tmp_path):
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    def run(*args): return subprocess.run([sys.executable, '-c', CODE, str(Path(__file__).parent), *map(str, args)], capture_output=True, text=True, env=env)
    died = run(tmp_path/'c', 'die')
    assert died.returncode and not died.stderr and read_state(tmp_path/'c')['done'] == 2
    out = run(tmp_path/'c', tmp_path/'end')
    assert not out.returncode, out.stderr
    whole = new()
    cycle(whole)
    assert same(whole.state_dict(), new().load(tmp_path/'end').state_dict())

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a graphics card')
def test_from_one_device_to_another(tmp_path):
    for opt in (Adam, T.AdamW, partial(SGD, mom=0.9)):
        a,b = new(opt),new(opt)
        a.dls.device = b.dls.device = torch.device('cuda:0')
        a.fit(1); b.fit(0)
        b.load(a.save(tmp_path/'s'))
        a.fit(1); b.fit(1)
        reader = load_learner(b.export(tmp_path/'e'), new().model)
        torch.testing.assert_close(reader.get_preds([(X, Y)])[0], b.get_preds([(X, Y)])[0], atol=1e-3, rtol=1e-3)
