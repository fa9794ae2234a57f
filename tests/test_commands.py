"""The commands as their users meet them: options, places, outputs, Ctrl-C, and the same calls from Python.

Most run in this process, as a script would run them; what hangs on a process of its own (signals, pipes, terminals, exit
codes) is started as one. All of it works on the digits that come with scikit-learn, and writes below `tmp_path` only.
"""
import gzip, io, os, runpy, signal, struct, subprocess, sys, threading, time
from pathlib import Path

import matplotlib
matplotlib.use('agg')
import pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageDraw, ImageOps

from mnist_from_scratch import ladder
from mnist_from_scratch.data import DataError, load_mnist
from mnist_from_scratch.ladder import CommandError, made_whole, mnist_ladder, mnist_predict, mnist_train, say

REPO = Path(ladder.__file__).parent.parent
posix = pytest.mark.skipif(os.name == 'nt', reason='POSIX only')


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    "No command sees the user's data or cache, nor writes into the folder that the tests are started in."
    here = tmp_path/'here'
    here.mkdir()
    for k,v in (('MNIST_PATH', 'embedded'), ('XDG_CACHE_HOME', tmp_path/'cache'), ('OMP_NUM_THREADS', 1)): monkeypatch.setenv(k, str(v))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(REPO), *filter(None, sys.path)]))
    monkeypatch.chdir(here)
    yield
    assert not list(tmp_path.rglob('.making-*')), 'a half-made file is left'


@pytest.fixture(scope='session')
def scripts(tmp_path_factory):
    "A script for each command, as pip makes them."
    folder = tmp_path_factory.mktemp('scripts')
    for name,func in (('mnist-ladder', 'mnist_ladder'), ('mnist-train', 'mnist_train'), ('mnist-predict', 'mnist_predict')):
        (folder/name).write_text(f'import sys\nfrom mnist_from_scratch.ladder import {func}\nsys.exit({func}())\n')
    (folder/'two-rungs').write_text('import sys\nfrom mnist_from_scratch import ladder\ndel ladder.RUNGS[2:]\n'
                                    'sys.exit(ladder.mnist_ladder())\n')     # where the models do not matter
    return folder


@pytest.fixture
def cli(scripts, monkeypatch, capsys):
    "Run a command in this process: its exit code, what it printed, and its errors."
    def run(command, *args):
        monkeypatch.setattr(sys, 'argv', [str(scripts/command), *map(str, args)])
        with pytest.raises(SystemExit) as e: runpy.run_path(str(scripts/command), run_name='__main__')
        out,err = capsys.readouterr()
        return e.value.code or 0, out, err
    return run


@pytest.fixture
def start(scripts):
    "Start a command as a process; what is still running in the end is killed."
    running = []
    def run(command, *args, stdout=subprocess.PIPE, **env):
        def hears(): signal.signal(signal.SIGINT, signal.SIG_DFL)     # even if the tests were started in the background
        posix_only = {} if os.name == 'nt' else dict(preexec_fn=hears)
        p = subprocess.Popen([sys.executable, scripts/command, *map(str, args)], text=True, encoding='utf-8', stdout=stdout,
                             stderr=subprocess.PIPE, env={**os.environ, **env}, **posix_only)
        running.append(p)
        return p
    yield run
    for p in running:
        if p.poll() is None: p.kill()
        p.wait()
        for o in (p.stdout, p.stderr):
            if o: o.close()


def finish(p):
    "A process's exit code, and what it printed."
    out,err = p.communicate(timeout=120)
    assert 'Traceback' not in err, err
    return p.returncode, out, err

def no_work(monkeypatch):
    "Make it a failure to load, fit or train."
    def fail(*_, **__): raise AssertionError('the work began')
    for o in ('load_mnist', 'climb', 'train_reader'): monkeypatch.setattr(ladder, o, fail)

def files(folder='.'): return sorted(o.relative_to(folder).as_posix() for o in Path(folder).rglob('*') if o.is_file())


# --- options

@pytest.mark.parametrize('command,args,what', [
    ('mnist-ladder', ['--digits', '3,x'], "digits '3,x' can not be used, expected two or more different digits"),
    ('mnist-ladder', ['--digits', '3'], "'3'"), ('mnist-ladder', ['--digits', '3,3'], "'3,3'"),
    ('mnist-ladder', ['--digits', ''], "''"), ('mnist-ladder', ['--digits', '3,17'], "'3,17'"),
    ('mnist-ladder', ['--epochs', '0'], 'epochs 0 can not be used, expected a whole number from 1 on'),
    ('mnist-ladder', ['--epochs', '-2'], 'epochs -2'), ('mnist-ladder', ['--epochs', 'x'], "--epochs: invalid int value: 'x'"),
    ('mnist-ladder', ['--epochs', '1.5'], "'1.5'"), ('mnist-ladder', ['--epochs', str(2**63)], 'from 1 on'),
    ('mnist-ladder', ['--seed', '-1'], 'seed -1 can not be used, expected a whole number from 0 on'),
    ('mnist-ladder', ['--seed', str(2**63)], 'from 0 on'),
    ('mnist-ladder', ['--device', 'abacus'], "device 'abacus' can not be used, expected cpu"),
    ('mnist-ladder', ['--device', ''], "device ''"),
    ('mnist-ladder', ['--digit-s', '3'], 'unrecognized arguments'), ('mnist-ladder', ['3,7'], 'unrecognized arguments'),
    ('mnist-train', ['--model', 'linear'], "model 'linear' can not be kept, expected 'convolutional network'"),
    ('mnist-train', ['--epochs', '0'], 'from 1 on'), ('mnist-train', ['--digits', '4'], "'4'"),
    ('mnist-predict', [], 'no image files given'), ('mnist-predict', ['a.png', '--digits', 'x,y'], "'x,y'"),
    ('mnist-predict', ['a.png', '--device', 'tpu'], "'tpu'"),
])
def test_a_wrong_option_is_one_line_before_any_work(cli, monkeypatch, tmp_path, command, args, what):
    no_work(monkeypatch)
    code,out,err = cli(command, *args)
    last = err.splitlines()[-1]
    assert (code, out) == (2, '') and what in last and last.startswith(f'{command}: error: ')
    assert files(tmp_path) == []


def test_the_one_model_that_can_be_kept_is_taken_by_its_name(cli, monkeypatch):
    taken = []
    monkeypatch.setattr(ladder, '_train', lambda *a: taken.append(a))
    assert cli('mnist-train', '--model', 'convolutional network')[0] == 0 and len(taken) == 1


@given(st.one_of(st.text(), st.lists(st.integers(-3, 12)), st.text('0123456789, ')))
@settings(deadline=None, max_examples=200)
def test_what_is_read_as_digits_is_always_two_or_more_different_ones_in_order(s):
    got = ladder._digits(s)
    if got is None: return
    assert len(got) > 1 and list(got) == sorted(set(got)) and set(got) <= set(range(10)) and ladder._digits(got) == got


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans()))
@settings(deadline=None, max_examples=200)
def test_what_is_read_as_a_whole_number_is_one(n):
    got = ladder._whole(n, 1)
    if got is not None: assert type(got) is int and 1 <= got < 2**63 and not isinstance(n, (bool, float))
    elif type(n) is int: assert not 1 <= n < 2**63


@pytest.mark.parametrize('command,options', [
    ('mnist-ladder', ['--digits', '--epochs', '--seed', '--device', '--out', '--resnet']),
    ('mnist-train', ['--model', '--digits', '--epochs', '--seed', '--device', '--out']),
    ('mnist-predict', ['--digits', '--model', '--device', 'images'])])
def test_help_lists_the_options_in_letters_that_every_terminal_has(cli, command, options):
    code,out,err = cli(command, '--help')
    assert (code, err) == (0, '') and all(o in out for o in options) and out.isascii()


# --- places

@pytest.mark.parametrize('command,out,what', [
    ('mnist-ladder', 'file', 'file is no folder'), ('mnist-ladder', 'file/below', 'Not a directory'),
    ('mnist-ladder', 'full', 'full/ladder.png is a folder'),
    ('mnist-train', 'full', 'full is a folder'), ('mnist-train', '.', '. is a folder'),
    ('mnist-train', 'file/x.pt', 'file is no folder'),
    pytest.param('mnist-ladder', '/dev/null', '/dev/null is no folder', marks=posix),
    pytest.param('mnist-ladder', '/proc/nowhere', 'can not be written', marks=posix),
    pytest.param('mnist-train', '/dev/null', 'no regular file', marks=posix),
    pytest.param('mnist-train', '/proc/reader.pt', 'can not be written', marks=posix),
])
def test_a_place_that_can_not_be_used_is_known_before_any_work(cli, monkeypatch, command, out, what):
    Path('file').write_text('mine')
    Path('full/ladder.png').mkdir(parents=True)
    no_work(monkeypatch)
    code,printed,err = cli(command, '--out', out)
    assert (code, printed) == (2, '') and what in err and 'name another place as out' in err and len(err.splitlines()) == 1
    assert Path('file').read_text() == 'mine' and files() == ['file']
    if os.name != 'nt': assert not Path(os.devnull).is_file()


@pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_without_the_right_to_write(cli, monkeypatch):
    Path('closed').mkdir(mode=0o500)
    no_work(monkeypatch)
    code,_,err = cli('mnist-ladder', '--out', 'closed')
    assert code == 2 and 'Permission denied' in err


def test_a_home_that_no_one_has_is_a_name_like_any_other():
    with made_whole('~nobody-of-that-name/x') as (new,): new.write_text('1')
    assert Path('~nobody-of-that-name/x').read_text() == '1'


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, SystemExit])
def test_files_are_made_together_or_not_at_all(error):
    a,b = Path('a'),Path('b')
    a.write_text('old')
    with pytest.raises(error), made_whole(a, b) as new:
        for o in new: o.write_text('new')
        raise error
    assert a.read_text() == 'old' and not b.exists()
    with made_whole(a, b) as new:
        for o in new: o.write_text('new')
    assert (a.read_text(), b.read_text()) == ('new', 'new')


def test_the_table_is_printed_before_files_are_written_and_older_ones_stay(cli, monkeypatch):
    def full(*_, **__): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(pd.DataFrame, 'to_csv', full)
    monkeypatch.setattr(ladder, 'RUNGS', ladder.RUNGS[:2])
    Path('ladder.csv').write_text('old')
    code,out,err = cli('mnist-ladder')
    assert code == 2 and 'pixel similarity, L2' in out and 'Saved' not in out
    assert err == 'mnist-ladder: error: [Errno 28] No space left on device\n'
    assert Path('ladder.csv').read_text() == 'old' and files() == ['ladder.csv']


@pytest.mark.parametrize('command', ['mnist-ladder', 'mnist-train'])
def test_a_wrong_data_folder_is_one_line(cli, monkeypatch, command):
    monkeypatch.setenv('MNIST_PATH', 'nowhere')
    code,out,err = cli(command)
    assert (code, out) == (2, '') and 'nowhere' in err and 'MNIST_PATH' in err and len(err.splitlines()) == 1
    assert files() == []


def test_without_fastai_the_resnet_is_refused_before_any_rung(cli, monkeypatch):
    no_work(monkeypatch)
    monkeypatch.setitem(sys.modules, 'fastai', None)
    code,_,err = cli('mnist-ladder', '--resnet')
    assert code == 2 and 'pip install fastai' in err


def test_the_resnet_stands_before_the_last_rung(cli, monkeypatch):
    names = []
    def climb(data, epochs, seed, device, rungs):
        names.extend(o.name for o in rungs)
        raise CommandError('seen')
    monkeypatch.setattr(ladder, 'climb', climb)
    monkeypatch.setattr(ladder, 'find_spec', lambda _: True)
    cli('mnist-ladder', '--resnet')
    assert names[-2:] == ["fastai's resnet18", 'convolutional network'] and len(names) == 7


# --- mnist-ladder as a process

def test_the_ladder_prints_and_saves_the_same_table(start, tmp_path):
    out = tmp_path/'new'/'out'
    code,printed,err = finish(start('mnist-ladder', '--out', out, '--device', 'cpu', '--epochs', 1))
    assert (code, err) == (0, '') and files(out) == ['ladder.csv', 'ladder.png'] and files() == []
    saved = pd.read_csv(out/'ladder.csv')
    assert list(saved) == ['model', 'parameters', 'epochs', 'accuracy', 'per digit', 'seconds', 'data', 'on 3', 'on 7']
    for _,row in saved.iterrows():
        line = next(o for o in printed.splitlines() if o.strip().startswith(f'{row["model"]}  '))
        numbers = [f'{row[o]:.4f}' for o in ('accuracy', 'per digit', 'on 3', 'on 7')]
        assert line.split()[-7:] == [str(row['parameters']), str(row['epochs']), *numbers[:2], f'{row["seconds"]:.2f}', *numbers[2:]]
    assert saved['data'].unique().tolist() == [load_mnist((3, 7)).source]
    assert 'held-out digits as' in printed and '▀' in printed and min(Image.open(out/'ladder.png').size) > 300


@posix
def test_a_reader_that_leaves_does_not_stop_the_ladder(start):
    p = start('two-rungs')
    p.stdout.readline()
    p.stdout.close()
    err = p.stderr.read()
    assert (p.wait(120), err) == (0, '') and files() == ['ladder.csv', 'ladder.png']


@posix
def test_a_terminal_of_ascii(start):
    code,out,err = finish(start('two-rungs', LC_ALL='C', PYTHONIOENCODING='ascii'))
    assert (code, err) == (0, '') and '??' in out and 'Saved' in out


@posix
def test_no_output_at_all(scripts):
    shell = f'"{sys.executable}" "{scripts}/two-rungs" >&- 2>&-'
    assert subprocess.run(shell, shell=True).returncode == 0
    assert files() == ['ladder.csv', 'ladder.png']


# --- Ctrl-C

def interrupted(p, seconds, line='Training'):
    "Send Ctrl-C some time after the process printed a line with `line`; its exit code and its errors."
    for o in p.stdout:
        if line in o: break
    time.sleep(seconds)
    assert p.poll() is None, f'it ended before: {p.stderr.read()}'
    p.send_signal(signal.SIGINT)
    _,err = p.communicate(timeout=60)
    return p.returncode, err

@posix
@pytest.mark.parametrize('seconds', [0, 1])
def test_ctrl_c_in_mnist_train_leaves_the_older_model(start, seconds):
    Path('reader.pt').write_bytes(b'an older model')
    p = start('mnist-train', '--epochs', 500, '--out', 'reader.pt', '--device', 'cpu')
    assert interrupted(p, seconds) == (130, 'mnist-train: stopped by Ctrl-C\n')
    assert Path('reader.pt').read_bytes() == b'an older model' and files() == ['reader.pt']


@posix
@pytest.mark.parametrize('seconds', [0, 1.5])
def test_ctrl_c_in_the_first_mnist_predict_caches_nothing(start, tmp_path, seven, seconds):
    many = many_digits(tmp_path/'many')          # so that the training lasts
    p = start('mnist-predict', seven, '--device', 'cpu', MNIST_PATH=str(many))
    assert interrupted(p, seconds) == (130, 'mnist-predict: stopped by Ctrl-C\n')
    assert not list((tmp_path/'cache').rglob('reader*'))


@posix
@pytest.mark.parametrize('seconds', [0, 0.3, 1.5])
def test_ctrl_c_in_the_ladder_writes_nothing_and_prints_no_row(start, seconds):
    p = start('mnist-ladder', '--epochs', 2000, '--device', 'cpu')
    assert interrupted(p, seconds, 'digits to train on') == (130, 'mnist-ladder: stopped by Ctrl-C\n')
    assert files() == []


@posix
def test_ctrl_c_in_a_terminal_ends_the_bar_with_a_line_of_its_own(start):
    import pty
    main,other = pty.openpty()
    p = start('mnist-ladder', '--epochs', 2000, '--device', 'cpu', stdout=other)
    os.close(other)
    seen,rest = b'',[]
    while b'2/6' not in seen: seen += os.read(main, 1000)
    p.send_signal(signal.SIGINT)
    def drain():
        try:
            while part := os.read(main, 1000): rest.append(part)
        except OSError: pass       # the end, as Linux tells it
    thread = threading.Thread(target=drain)
    thread.start()
    assert (p.wait(60), p.stderr.read()) == (130, 'mnist-ladder: stopped by Ctrl-C\n')
    thread.join()
    os.close(main)
    assert b'|' in seen and b''.join(rest).endswith(b'\n')


def test_ctrl_c_in_python_is_what_it_always_is(monkeypatch):
    def stop(*_, **__): raise KeyboardInterrupt
    monkeypatch.setattr(ladder, 'climb', stop)
    with pytest.raises(KeyboardInterrupt): mnist_ladder(out='made')
    assert files() == []


# --- a model, and pictures

def many_digits(folder, times=25):
    "The digits of scikit-learn several times over, as MNIST's four files."
    folder.mkdir()
    data = load_mnist(path='embedded')
    for part,name in ((data.train, 'train'), (data.valid, 't10k')):
        for o,kind in zip(part, ('images-idx3', 'labels-idx1')):
            o = torch.cat([o]*times).byte()
            with gzip.open(folder/f'{name}-{kind}-ubyte.gz', 'wb', compresslevel=1) as f:
                f.write(struct.pack(f'>BBBB{o.ndim}I', 0, 0, 8, o.ndim, *o.shape) + o.numpy().tobytes())
    return folder


@pytest.fixture
def seven(tmp_path):
    "A seven, dark on light."
    im = Image.new('RGB', (320, 240), (235, 225, 190))
    ImageDraw.Draw(im).line([(180, 60), (270, 65), (225, 190)], fill=(30, 40, 110), width=14, joint='curve')
    im.save(tmp_path/'seven.jpg')
    return tmp_path/'seven.jpg'


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    "A trained network in a file, made by `mnist_train` from Python."
    file = tmp_path_factory.mktemp('model')/'sub'/'reader.pt'
    with pytest.MonkeyPatch.context() as m:
        m.setenv('MNIST_PATH', 'embedded')
        mnist_train(out=file, device='cpu')
    assert files(file.parent) == ['reader.pt']
    return file


def answers(out): return {o.split(': ')[0].split('/')[-1]: o.split(': ', 1)[1] for o in out.splitlines()[1:]}

def test_pictures_are_read_in_the_order_they_were_given(cli, reader, seven):
    small = seven.with_name('small.png')
    ImageOps.invert(Image.open(seven)).convert('L').resize((90, 70)).save(small)
    code,out,err = cli('mnist-predict', seven, small, '--model', reader)
    assert (code, err) == (0, '') and out.startswith('convolutional network, trained on scikit-learn digits: right about ')
    assert list(answers(out)) == ['seven.jpg', 'small.png'] and all(o.count('%') == 3 for o in answers(out).values())


def test_a_choice_of_digits(cli, reader, seven):
    code,out,_ = cli('mnist-predict', seven, '--model', reader, '--digits', '7,3')
    answer = answers(out)['seven.jpg']
    assert code == 0 and answer.count('%') == 2 and '3 (' in answer and '7 (' in answer


def test_one_bad_file_among_good_ones_is_named_and_the_good_ones_are_read(cli, reader, seven, tmp_path):
    (tmp_path/'text.png').write_text('no image')
    code,out,err = cli('mnist-predict', tmp_path/'text.png', seven, tmp_path/'none.png', '--model', reader)
    assert code == 1 and list(answers(out)) == ['seven.jpg']
    assert len(err.splitlines()) == 2 and all(f'{o}.png could not be read' in err for o in ('text', 'none'))


def test_nothing_is_trained_for_pictures_that_can_not_be_read(cli, monkeypatch):
    no_work(monkeypatch)
    code,out,err = cli('mnist-predict', 'none.png')
    assert (code, out) == (1, '') and 'none.png' in err


def test_a_model_that_is_not_there_is_not_made_but_how_to_make_it_is_said(cli, monkeypatch, seven):
    no_work(monkeypatch)
    code,out,err = cli('mnist-predict', seven, '--model', 'typo.pt')
    assert (code, out) == (2, '') and 'typo.pt does not exist' in err and 'mnist-train --out typo.pt' in err
    assert files() == []


def test_a_file_that_is_no_model_damaged_cut_off_or_a_folder(cli, reader, seven, monkeypatch):
    no_work(monkeypatch)
    whole = reader.read_bytes()
    at = len(whole)//2
    flipped = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:]      # a single bit
    for i,content in enumerate((b'', b'PK\3\4 no zip', b'{"format": 3}'*50, whole[:5000], whole[:at], flipped)):
        Path(f'{i}.pt').write_bytes(content)
    Path('folder.pt').mkdir()
    for name in (*files(), 'folder.pt'):
        code,_,err = cli('mnist-predict', seven, '--model', name)
        assert code == 2 and name in err and f'mnist-train --out {name}' in err and len(err.splitlines()) == 1


def test_digits_that_the_model_does_not_know(cli, seven):
    mnist_train(out='small.pt', digits='3,7', epochs=1, device='cpu')
    code,_,err = cli('mnist-predict', seven, '--model', 'small.pt', '--digits', '2,4')
    assert code == 2 and 'knows only (3, 7)' in err


def test_the_first_mnist_predict_trains_once(cli, seven, tmp_path):
    first,second = (cli('mnist-predict', seven, '--device', 'cpu') for _ in range(2))
    assert (first[0], second[0], first[2], second[2]) == (0, 0, '', '')
    assert 'no trained model yet' in first[1] and 'Training' in first[1] and 'Training' not in second[1]
    assert first[1].splitlines()[-1] == second[1].splitlines()[-1]
    assert len([o for o in files(tmp_path/'cache') if 'reader' in o]) == 1


# --- from Python

@pytest.mark.parametrize('kwargs,what', [
    (dict(epochs=0), 'epochs 0'), (dict(epochs=2.5), 'epochs 2.5'), (dict(epochs=True), 'epochs True'), (dict(seed=-1), 'seed -1'),
    (dict(digits=(3,)), 'digits .3,.'), (dict(device='abacus'), 'abacus'), (dict(model='MLP'), "'MLP' can not be kept")])
def test_a_wrong_option_in_python_is_an_error_like_others(monkeypatch, kwargs, what):
    no_work(monkeypatch)
    with pytest.raises(CommandError, match=what): mnist_train(out='x.pt', **kwargs)


def test_other_errors_in_python_keep_their_kind(monkeypatch, seven):
    monkeypatch.setenv('MNIST_PATH', 'nowhere')
    with pytest.raises(DataError, match='nowhere'): mnist_ladder()
    with pytest.raises(CommandError, match='typo.pt'): mnist_predict(str(seven), model='typo.pt')
    with pytest.raises(TypeError): mnist_ladder(colour='red')


class Notebook(io.TextIOBase):
    "A stdout as notebooks have it: no `reconfigure`, no file, no encoding."
    def __init__(self): self.text = ''
    def write(self, s):
        self.text += s
        return len(s)

def closed():
    o = io.StringIO()
    o.close()
    return o

@pytest.mark.parametrize('make', [Notebook, io.StringIO, lambda: None, closed], ids=['notebook', 'string', 'missing', 'closed'])
def test_the_ladder_runs_whatever_stands_for_the_terminal(monkeypatch, make):
    monkeypatch.setattr(ladder, 'RUNGS', ladder.RUNGS[:2])
    out = make()
    monkeypatch.setattr(sys, 'stdout', out)
    mnist_ladder('3,7', out='made')
    assert sys.stdout is out and files('made') == ['ladder.csv', 'ladder.png']
    if isinstance(out, Notebook): assert 'Saved' in out.text


def test_characters_that_an_output_lacks_become_question_marks(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(raw, encoding='ascii'))
    say('é▀', 'a\udcff')
    assert raw.getvalue().decode('ascii').splitlines() == ['??', 'a?']


def test_the_backend_of_a_notebook_is_left_alone(monkeypatch):
    monkeypatch.setattr(ladder, 'RUNGS', ladder.RUNGS[:1])
    monkeypatch.setattr(ladder.plt, 'switch_backend', lambda *_: pytest.fail('switched'))
    mnist_ladder(out='made')
