"""The benchmarks: each competitor does what its name says, the table and the picture hold, and `mnist-bench` is a good command."""
import os, runpy, signal, subprocess, sys, time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch

from mnist_from_scratch import benchmarks
from mnist_from_scratch.benchmarks import GROUPS, Group, bench, busy_machine, measure, plot
from mnist_from_scratch.data import load_mnist
from mnist_from_scratch.ladder import CommandError
from mnist_from_scratch.linear import threads

REPO = Path(benchmarks.__file__).parent.parent
NAMES = [o.name for o in GROUPS]
needs_fastai = pytest.mark.skipif(not find_spec('fastai'), reason='needs fastai')
posix = pytest.mark.skipif(os.name == 'nt', reason='POSIX only')


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    "The digits of scikit-learn, and no folder of the user's."
    here = tmp_path/'here'
    here.mkdir()
    for k,v in (('MNIST_PATH', 'embedded'), ('XDG_CACHE_HOME', tmp_path/'cache')): monkeypatch.setenv(k, str(v))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(REPO), *filter(None, sys.path)]))
    monkeypatch.chdir(here)
    yield
    plt.close('all')
    assert not list(tmp_path.rglob('.making-*')), 'a half-made file is left'


def files(): return sorted(o.as_posix() for o in Path('.').rglob('*') if o.is_file())

def group(name): return next(o for o in GROUPS if o.name == name)

FAST = [Group('quick', lambda folder: {'ours': lambda: None, 'theirs': lambda: time.sleep(0.002)}, threads=True),
        Group('single', lambda folder: {'ours': lambda: None})]


@needs_fastai
def test_one_round_of_all_groups_but_the_imports(monkeypatch):
    "Everything runs, and gives a table and a picture of the right form."
    few = load_mnist(path='embedded')
    few = few._replace(train=tuple(o[:400] for o in few.train))
    def load(digits=None, **kwargs): return few if digits is None else load_mnist(digits, **kwargs)
    monkeypatch.setattr(benchmarks, 'load_mnist', load)
    with threads(1): table = measure(1, GROUPS[:-1])
    assert NAMES[-1] == 'imports' and list(dict.fromkeys(table.index.get_level_values('group'))) == NAMES[:-1]
    assert table.groupby(level='group', sort=False).size().tolist() == [3, 7, 3, 2, 3]
    assert np.isfinite(table).all(axis=None) and (table > 0).all(axis=None)
    for name in NAMES[:-1]:
        t = table.loc[name]
        assert list(dict.fromkeys(t.index.get_level_values('threads'))) == (['1'] if group(name).threads else ['–'])
        assert (t['÷ first'].groupby(level='threads').first() == 1).all()
    fig = plot(table)
    assert [len(ax.lines) - 1 for ax in fig.axes] == [1]*5
    assert [ax.get_title(loc='left') for ax in fig.axes] == NAMES[:-1] and fig.axes[-1].get_xscale() == 'log'


def test_the_ways_to_load_give_the_same_digits(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(benchmarks.torch, 'stack', lambda o, stack=torch.stack: kept.append(stack(o)) or kept[-1])
    ways = group('loading threes and sevens').make(tmp_path)
    kept.clear()
    ways['from PNG files']()
    data = ways['from gzipped IDX']()
    assert torch.equal(data.train[0], load_mnist((3, 7)).train[0])
    for stack,(part,d) in zip(kept, [(p, d) for p in (data.train, data.valid) for d in (3, 7)]):
        x = part[0][part[1] == d]
        assert stack.shape == x.shape and stack.sum() == x.sum()


@needs_fastai
def test_all_who_train_for_an_epoch_learn(monkeypatch, tmp_path):
    "After some epochs each of them reads the held-out digits: so each does the whole work."
    models = []
    for name in ('_net', '_layers'):
        old = getattr(benchmarks, name)
        monkeypatch.setattr(benchmarks, name, lambda *a, old=old: models.append(old(*a)) or models[-1])
    runners = group('an epoch of the MLP').make(tmp_path)
    trained = [k for k in runners if k != 'bare products']
    assert len(models) == len(trained) == 6
    for k in trained:
        for _ in range(30): runners[k]()
    vx,vy = benchmarks._pairs(load_mnist((3, 7)))[1].tensors
    for k,model in zip(trained, models):
        out = vx
        with torch.no_grad():
            for layer in model: out = layer(out)
        assert (((out > (0.5 if k == 'by hand' else 0)) == (vy == 1)).float().mean() > 0.9), k


def test_by_hand_and_by_autograd_give_the_same_gradients(monkeypatch, tmp_path):
    layers = []
    monkeypatch.setattr(benchmarks, '_layers', lambda n, old=benchmarks._layers: layers.append(old(n)) or layers[-1])
    seen = []
    monkeypatch.setattr(benchmarks.F, 'mse_loss', lambda *a, old=torch.nn.functional.mse_loss: seen.append(old(*a)) or seen[-1])
    runners = group('gradients of the MLP').make(tmp_path)
    runners['by hand'](); runners['autograd']()
    nodes,leaves = [seen[0].grad_fn],[]
    while nodes:
        node = nodes.pop()
        if hasattr(node, 'variable'): leaves.append(node.variable)
        nodes += [o for o,_ in node.next_functions if o]
    by_hand = [o.g for layer in layers[0] for o in layer.parameters()]
    assert len(leaves) == 5
    for g in by_hand: assert any(g.shape == o.shape and torch.allclose(g, o.grad, rtol=1e-4, atol=1e-6) for o in leaves)


def test_two_numbers_of_threads_are_two_kinds_of_dots():
    with threads(2): table = measure(1, FAST)
    assert table.index.get_level_values('threads').tolist() == ['1', '1', '2', '2', '–']
    fig = plot(table)
    assert [len(ax.lines) - 1 for ax in fig.axes] == [2, 1]
    assert [o.get_text() for o in fig.axes[0].get_legend().get_texts()] == ['1', '2']


def test_the_floor_of_the_convolutions_is_their_products_alone():
    "One gradient for each weight, none for the images."
    from torch import nn
    model = nn.Sequential(nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3),
                          nn.Flatten(), nn.Linear(5*24*24, 3))
    calls = []
    old = torch.autograd.grad
    with pytest.MonkeyPatch.context() as m:
        m.setattr(torch.autograd, 'grad', lambda out, leaves, g: calls.append([tuple(o.shape) for o in leaves]) or old(out, leaves, g))
        benchmarks._floor(model, torch.rand(7, 28, 28), torch.float32)()
    assert calls == [[(4, 1, 3, 3)], [(5, 4, 3, 3), (7, 4, 26, 26)], [(3, 2880), (7, 2880)]]


def test_groups_are_measured_with_their_threads_inside_their_circumstances_and_not_too_often():
    seen = []
    @contextmanager
    def around():
        seen.append('in')
        yield
        seen.append('out')
    def make(folder):
        assert folder.is_dir()
        return {'ours': lambda: seen.append(torch.get_num_threads())}
    with threads(3):
        table = measure(5, [Group('a', make, True, around, 2), Group('b', make)])
    assert seen == ['in', 1, 1, 1, 'out', 'in', 3, 3, 3, 'out', 3, 3, 3, 3, 3, 3]
    assert table.index.tolist() == [('a', '1', 'ours'), ('a', '3', 'ours'), ('b', '–', 'ours')]


def test_the_busy_programs_end_with_their_block(monkeypatch):
    started = []
    old = subprocess.Popen
    monkeypatch.setattr(benchmarks.subprocess, 'Popen', lambda *a, **k: started.append(old(*a, **k)) or started[-1])
    with pytest.raises(KeyboardInterrupt), busy_machine():
        assert started and all(o.poll() is None for o in started)
        raise KeyboardInterrupt
    assert all(o.poll() is not None for o in started)


@posix
def test_the_busy_programs_end_when_the_one_that_started_them_was_killed():
    code = ('import os, subprocess, sys\np = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])\n'
            'print(p.pid, flush=True)\np.wait()')
    p = subprocess.Popen([sys.executable, '-c', code, benchmarks._SPIN], stdout=subprocess.PIPE, text=True)
    pid = int(p.stdout.readline())
    p.kill()
    p.wait()
    p.stdout.close()
    for _ in range(100):
        try: os.kill(pid, 0)
        except ProcessLookupError: return
        if Path(f'/proc/{pid}/stat').exists() and Path(f'/proc/{pid}/stat').read_text().split()[2] == 'Z': return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail('it goes on')


# --- mnist-bench

@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    "Run `mnist-bench` in this process, as its script does: its exit code, what it printed, and its errors."
    script = tmp_path/'mnist-bench'
    script.write_text('import sys\nfrom mnist_from_scratch.benchmarks import bench\nsys.exit(bench())\n')
    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(script), *map(str, args)])
        with pytest.raises(SystemExit) as e: runpy.run_path(str(script), run_name='__main__')
        return (e.value.code or 0, *capsys.readouterr())
    return run

def no_work(monkeypatch):
    def fail(*_, **__): raise AssertionError('the work began')
    monkeypatch.setattr(benchmarks, 'measure', fail)


@needs_fastai
def test_the_command_prints_and_saves_the_same_table(cli, monkeypatch):
    monkeypatch.setattr(benchmarks, 'GROUPS', FAST)
    code,out,err = cli('--rounds', 2, '--out', 'new')
    assert (code, err) == (0, '') and files() == ['new/benchmarks.csv', 'new/benchmarks.png']
    saved = pd.read_csv('new/benchmarks.csv')
    assert list(saved) == ['group', 'threads', 'competitor', 'milliseconds', '÷ first']
    for ms in saved['milliseconds']: assert f'{ms:.2f}' in out
    assert 'scikit-learn digits' in out and 'medians of 2 rounds' in out


@needs_fastai
@pytest.mark.parametrize('args,env,what', [
    (['--rounds', '0'], {}, 'rounds 0 can not be used, expected a whole number from 1 on'),
    (['--rounds', '-1'], {}, 'rounds -1'), (['--rounds', 'x'], {}, "--rounds: invalid int value: 'x'"),
    (['--out', 'file'], {}, 'file is no folder'),
    pytest.param(['--out', '/proc/no'], {}, 'can not be written', marks=posix),
    pytest.param(['--out', '/dev/null'], {}, '/dev/null is no folder', marks=posix),
    ([], {'MNIST_PATH': 'nowhere'}, 'MNIST_PATH'), (['more'], {}, 'unrecognized arguments')])
def test_what_can_not_be_used_is_said_before_any_work(cli, monkeypatch, args, env, what):
    Path('file').write_text('mine')
    no_work(monkeypatch)
    for k,v in env.items(): monkeypatch.setenv(k, v)
    code,out,err = cli(*args)
    assert (code, out) == (2, '') and what in err.splitlines()[-1] and err.splitlines()[-1].startswith('mnist-bench: error: ')
    assert files() == ['file'] and Path('file').read_text() == 'mine'


def test_without_fastai_there_is_nothing_to_compare_with(cli, monkeypatch):
    no_work(monkeypatch)
    monkeypatch.setitem(sys.modules, 'fastai', None)
    code,_,err = cli()
    assert code == 2 and 'pip install fastai' in err and len(err.splitlines()) == 1


def test_the_same_from_python(monkeypatch):
    no_work(monkeypatch)
    with pytest.raises(CommandError, match='rounds 0'): bench(rounds=0)


def test_help_lists_the_options(cli):
    code,out,_ = cli('--help')
    assert code == 0 and '--rounds' in out and '--out' in out and out.isascii()


@posix
@needs_fastai
def test_ctrl_c_while_it_measures_an_import_writes_nothing(tmp_path):
    "The process that is measured is ended too, and does not complain."
    script = tmp_path/'mnist-bench'
    script.write_text('import sys\nfrom mnist_from_scratch import benchmarks\nbenchmarks.GROUPS = benchmarks.GROUPS[-1:]\n'
                      'sys.exit(benchmarks.bench())\n')
    p = subprocess.Popen([sys.executable, script], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    while 'rounds' not in p.stdout.readline(): pass
    time.sleep(0.5)
    os.killpg(p.pid, signal.SIGINT)      # as a terminal does it
    _,err = p.communicate(timeout=60)
    assert (p.returncode, err) == (130, 'mnist-bench: stopped by Ctrl-C\n') and files() == []
