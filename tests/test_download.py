"""Downloads from servers that lie, stall and cut off, and programs that start at the same moment: all on this computer."""
import gzip, hashlib, json, os, shutil, subprocess, sys, threading, time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest, torch
from conftest import listing
from test_data import four, refused, same

from mnist_from_scratch import data
from mnist_from_scratch.data import EMBEDDED, DataError, DownloadError, download, load_mnist, mnist_sample

BODY = bytes(range(256))*200
SHA = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    "The first part of the path says how to misbehave, the last what to send."
    def log_message(self, *args): pass
    def do_GET(self):
        server,(_,how,*_,name) = self.server,self.path.split('/')
        with server.lock:
            server.asked[how] += 1
            n = server.asked[how]
        body = server.files.get(name, BODY)
        try: getattr(self, how)(body, n)
        except OSError: pass                        # the client had enough
    def start(self, length=None):
        self.send_response(200)
        if length is not None: self.send_header('Content-Length', str(length))
        self.end_headers()
    def drip_for_ever(self):
        while not self.server.done.wait(0.05): self.wfile.write(b'x'); self.wfile.flush()

    def whole(self, body, n): self.start(len(body)); self.wfile.write(body)
    def slowly(self, body, n): time.sleep(0.1); self.whole(body, n)
    def no_length(self, body, n): self.start(); self.wfile.write(body)
    def cut(self, body, n): self.start(len(body)); self.wfile.write(body[:len(body)//2])
    def cut_no_length(self, body, n): self.start(); self.wfile.write(body[:len(body)//2])
    def changed(self, body, n): self.start(len(body)); self.wfile.write(body[:-1] + bytes([body[-1] ^ 1]))
    def more(self, body, n): self.start(len(body) + 5); self.wfile.write(body + b'extra')
    def html(self, body, n): self.start(); self.wfile.write(b'<html>Please log in to this network</html>')
    def empty(self, body, n): self.start(0)
    def missing(self, body, n): self.send_error(404)
    def broken(self, body, n): self.send_error(503)
    def nothing(self, body, n): self.close_connection = True
    def junk(self, body, n): self.wfile.write(b'\x1b]0;junk\x07 not HTTP\r\n\r\n' + bytes(99))
    def loop(self, body, n): self.send_response(302); self.send_header('Location', self.path); self.end_headers()
    def to_file(self, body, n): self.send_response(302); self.send_header('Location', 'file:///etc/passwd'); self.end_headers()
    def bad_chunks(self, body, n):
        self.protocol_version = 'HTTP/1.1'
        self.send_response(200); self.send_header('Transfer-Encoding', 'chunked'); self.end_headers()
        self.wfile.write(b'zzz\r\n' + body)
    def huge_length(self, body, n): self.start(2**62); self.wfile.write(body)
    def endless(self, body, n):
        self.start()
        while not self.server.done.is_set(): self.wfile.write(bytes(2**16)); self.server.sent += 2**16
    def stalled(self, body, n): self.start(len(body)); self.wfile.write(body[:100]); self.wfile.flush(); self.server.done.wait(30)
    def silent(self, body, n): self.server.done.wait(30)
    def drip(self, body, n): self.start(); self.drip_for_ever()
    def drip_headers(self, body, n): self.wfile.write(b'HTTP/1.0 200 OK\r\nX: '); self.drip_for_ever()
    def after_six(self, body, n): self.whole(body, n) if n > 6 else self.send_error(503)
    def first_four(self, body, n): self.whole(body, n) if n <= 4 else self.send_error(503)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    server.asked,server.lock,server.done,server.files,server.sent = Counter(),threading.Lock(),threading.Event(),{},0
    server.url = lambda how: f'http://127.0.0.1:{server.server_port}/{how}/'
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.02))
    thread.start()
    yield server
    server.done.set()
    server.shutdown(); server.server_close(); thread.join()


@pytest.fixture
def remote(server, tmp_path, monkeypatch):
    "A small data set on the server in place of MNIST, and a process that knows nothing of earlier failures."
    folder = four(tmp_path/'served', n=5, label=4, zipped=True)
    server.files = {o.name: o.read_bytes() for o in folder.iterdir()}
    sums = {k: (len(v), hashlib.sha256(v).hexdigest()) for k,v in sorted(server.files.items())}
    monkeypatch.setattr(data, '_sums', sums)
    monkeypatch.setattr(data, '_failed', [])
    monkeypatch.setattr(data, 'MIRRORS', [server.url('whole')])
    monkeypatch.delenv('MNIST_PATH', raising=False)
    data._say.cache_clear()
    return folder

def new_process(cache):
    "Forget what this process knows of the network, as one would that starts a minute later."
    data._failed.clear()
    os.utime(cache/'failed', (0, 0))

def mirrors(monkeypatch, server, *hows): monkeypatch.setattr(data, 'MIRRORS', [server.url(o) for o in hows])


# One file

@pytest.mark.parametrize('how', ['whole', 'no_length', 'huge_length'])
def test_download(server, tmp_path, how, capfd):
    f = tmp_path/'new'/'file'
    assert download(server.url(how) + 'x', f, len(BODY), SHA) == f and f.read_bytes() == BODY
    f.write_bytes(b'old')
    assert download(server.url(how) + 'x', str(f), len(BODY), SHA) == f and f.read_bytes() == BODY
    assert listing(tmp_path) == ['new', 'new/file'] and capfd.readouterr() == ('', '')

failures = dict(
    cut='got 25,600 bytes', cut_no_length='got 25,600 bytes', changed='SHA-256', more='or more', html='got 42 bytes', empty='got 0 bytes',
    missing='404', broken='503', nothing='RemoteDisconnected', junk='BadStatusLine', loop='HTTPError', to_file='HTTPError',
    bad_chunks='could not be downloaded', endless='or more', stalled='TimeoutError',
    silent='TimeoutError', drip='more than 0.6 seconds', drip_headers='more than 0.6 seconds')

@pytest.mark.parametrize('how, why', failures.items(), ids=failures)
def test_failed_download(server, tmp_path, how, why, capfd):
    "Soon over, in one line that names the place and says why; nothing is printed, nothing is kept, and the old file stays."
    f = tmp_path/'file'
    f.write_bytes(b'old')
    start = time.monotonic()
    with pytest.raises(DownloadError) as e: download(server.url(how) + 'x', f, len(BODY), SHA, timeout=0.3, total=0.6)
    assert time.monotonic() - start < 5
    assert why in str(e.value) and server.url(how) in str(e.value) and str(e.value).isprintable()
    assert f.read_bytes() == b'old' and listing(tmp_path) == ['file'] and capfd.readouterr() == ('', '')
    assert server.sent < 2**24

@pytest.mark.parametrize('url', ['http://127.0.0.1:9/x', 'http://localhost:99999/x', 'nonsense', 'http://', 'http://[', 'gopher://127.0.0.1/x',
                                 'http://127.0.0.1/a b\n', 'https://example.org/x'])
def test_unreachable(tmp_path, url):
    with pytest.raises(DownloadError, match='could not be downloaded'): download(url, tmp_path/'file', 5, SHA, timeout=1)
    assert listing(tmp_path) == []

def test_destinations(server, tmp_path):
    "A folder, a device or a place that can't be written is an error of its own, and not a failed download."
    (tmp_path/'folder').mkdir(); (tmp_path/'folder'/'mine').write_text('x')
    (tmp_path/'null').symlink_to('/dev/null'); (tmp_path/'file').write_text('x')
    before = listing(tmp_path)
    for dest in ('folder', 'null', 'file/below'):
        with pytest.raises(OSError, match=dest.split('/')[0]) as e: download(server.url('whole') + 'x', tmp_path/dest, len(BODY), SHA)
        assert not isinstance(e.value, DownloadError)
    assert listing(tmp_path) == before

def test_tilde(server, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path)); monkeypatch.setenv('USERPROFILE', str(tmp_path))
    assert download(server.url('whole') + 'x', '~/file', len(BODY), SHA) == tmp_path/'file'
    assert (tmp_path/'file').read_bytes() == BODY


# The four files

def test_first_start_downloads_and_the_next_does_not(server, remote, cache, monkeypatch, capsys):
    first = load_mnist()
    assert same(first, load_mnist(path=remote)) and server.asked == {'whole': 4}
    mirrors(monkeypatch, server, 'missing')
    assert same(load_mnist(), first) and same(load_mnist((4,)), first)
    assert capsys.readouterr().out == '' and server.asked == {'whole': 4}
    assert listing(cache) == sorted(['downloads', 'lock'] + [f'downloads/{o}' for o in data._sums])

@pytest.mark.parametrize('how', ['missing', 'changed', 'cut', 'html', 'nothing'])
def test_second_mirror(server, remote, monkeypatch, how):
    mirrors(monkeypatch, server, how, 'whole')
    assert load_mnist().digits == [4] and server.asked == {how: 4, 'whole': 4}

def test_no_mirror(server, remote, monkeypatch, cache, capsys):
    "One line says which data it is, why, and what to do; the process stays with it, and asks no more."
    mirrors(monkeypatch, server, 'missing', 'cut')
    assert load_mnist().source == EMBEDDED
    said = capsys.readouterr().out
    assert said.count('\n') == 1 and 'scikit-learn' in said and '8x8' in said and server.url('cut') in said and 'MNIST_PATH' in said
    assert not [o for o in listing(cache) if 'ubyte' in o or 'making' in o]
    mirrors(monkeypatch, server, 'whole')
    asked = server.asked.copy()
    os.utime(cache/'failed', (0, 0))                             # long ago, but in this process
    assert load_mnist((3, 7)).source == EMBEDDED and mnist_sample().name == '37' and server.asked == asked
    assert capsys.readouterr().out == ''
    new_process(cache)
    assert load_mnist().digits == [4]

def test_failure_a_moment_ago(server, remote, monkeypatch, cache):
    "A program that starts a moment after another that found no network has the same data; one that starts later tries anew."
    mirrors(monkeypatch, server, 'missing')
    assert load_mnist().source == EMBEDDED
    data._failed.clear()
    mirrors(monkeypatch, server, 'whole')
    assert load_mnist().source == EMBEDDED
    new_process(cache)
    assert load_mnist().digits == [4]

def test_half_of_the_files(server, remote, monkeypatch, cache):
    "What came is kept, so that the next start needs the rest only."
    mirrors(monkeypatch, server, 'first_four')
    server.asked['first_four'] = 2
    assert load_mnist().source == EMBEDDED
    assert len([o for o in listing(cache) if 'ubyte' in o]) == 2
    new_process(cache)
    mirrors(monkeypatch, server, 'whole')
    assert load_mnist().digits == [4] and server.asked['whole'] == 2

damages = dict(a_bit=lambda b: b[:20] + bytes([b[20] ^ 1]) + b[21:], cut=lambda b: b[:-9], empty=lambda b: b'', longer=lambda b: b + b'x',
               header=lambda b: b[:4] + b'\1' + b[5:],      # gzip's time: the same images, but not the same file
               other=lambda b: gzip.compress(gzip.decompress(b)[:-1] + b'\7'))

@pytest.mark.parametrize('damage', damages.values(), ids=damages)
@pytest.mark.parametrize('name', ['train-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz'])
def test_damaged_cache_is_mended(server, remote, cache, name, damage, capsys):
    first,f = load_mnist(),cache/'downloads'/name
    f.write_bytes(damage(f.read_bytes()))
    assert same(load_mnist(), first) and f.read_bytes() == server.files[name] and server.asked['whole'] == 5
    assert capsys.readouterr().out == ''

@pytest.mark.parametrize('damage', damages.values(), ids=damages)
def test_damaged_cache_that_cannot_be_mended(server, remote, cache, monkeypatch, damage):
    "An error, and not other data. It names the file and says what to do; when the network is back all is well."
    first,f = load_mnist(),cache/'downloads'/'t10k-images-idx3-ubyte.gz'
    f.write_bytes(damage(f.read_bytes()))
    (cache/'downloads'/'train-images-idx3-ubyte.gz').unlink()    # a missing file hides no damaged one
    mirrors(monkeypatch, server, 'missing')
    for _ in range(2): refused(f'{f} is damaged. Remove it, or go online', load_mnist)
    mirrors(monkeypatch, server, 'whole')
    assert same(load_mnist(), first)

def test_a_folder_in_the_place_of_a_file(server, remote, cache):
    (cache/'downloads'/'t10k-images-idx3-ubyte.gz'/'mine').mkdir(parents=True)
    assert 'network' not in refused('t10k-images-idx3-ubyte.gz', load_mnist)

def test_cache_that_cannot_be_written(server, remote, tmp_path, monkeypatch):
    "An error that blames the cache and nothing else, not other data, and no hint about the network."
    (tmp_path/'file').write_text('x')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'file'))
    for f in (load_mnist, mnist_sample, data.get_data):
        text = refused('Set XDG_CACHE_HOME to a folder that can be written', f)
        assert str(tmp_path/'file') in text and 'network' not in text and 'MNIST_PATH' not in text
    assert not server.asked

def test_cache_that_is_whole_need_not_be_written(server, remote, cache, monkeypatch):
    first = load_mnist()
    class Lock:
        def __init__(self, path): pass
        def __enter__(self): raise PermissionError('read-only')
        def __exit__(self, *args): pass
    monkeypatch.setattr(data, 'FileLock', Lock)
    assert same(load_mnist(), first)
    f = cache/'downloads'/'t10k-images-idx3-ubyte.gz'
    f.write_bytes(b'')
    refused('read-only. Set XDG_CACHE_HOME', load_mnist)

def test_wrong_path_is_no_reason_to_fall_back(server, remote, monkeypatch, tmp_path):
    monkeypatch.setenv('MNIST_PATH', str(tmp_path/'nowhere'))
    refused('nowhere', load_mnist)
    assert not server.asked

def test_mirrors_and_sums():
    "Four files from each mirror, with the sizes and checksums that torchvision's and TensorFlow's data sets have for them."
    assert len(data.MIRRORS) == 2 and all(o.startswith('https://') and o.endswith('/') for o in data.MIRRORS)
    assert [size for size,_ in data._sums.values()] == [9912422, 28881, 1648877, 4542]
    assert list(data._sums) == [f'{a}-{b}-ubyte.gz' for a in ('train', 't10k') for b in ('images-idx3', 'labels-idx1')]
    assert all(len(sha) == 64 for _,sha in data._sums.values())

def test_real_mnist_by_download(server, mnist, monkeypatch, remote):
    "The files at MNIST_PATH, served and fetched, are MNIST."
    server.files = {f'{o.name.removesuffix(".gz")}.gz': gzip.compress(o.read_bytes(), 1) if o.suffix != '.gz' else o.read_bytes()
                    for o in mnist.glob('*-ubyte*')}
    monkeypatch.setattr(data, '_sums', {k: (len(server.files[k]), hashlib.sha256(server.files[k]).hexdigest()) for k in data._sums})
    assert load_mnist((3, 7)).source == 'MNIST'


# Starts at the same moment

CROWD = '''
import hashlib, json, os, sys, traceback
from sklearn.datasets import load_digits
import mnist_from_scratch.data as d

def one(env, mirrors, sums, code):
    os.environ.update(env)
    os.environ.pop('MNIST_PATH', None)
    d.MIRRORS,d._sums = mirrors,{k: tuple(v) for k,v in sums.items()} or d._sums
    try: return eval(code)
    except BaseException as e: return f'{type(e).__name__}: {e}'

answers = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)                            # what they print is not an answer
for line in sys.stdin:
    task,wait,go,reads = json.loads(line),*os.pipe(),[]
    for _ in range(8):
        read,write = os.pipe()
        reads.append(read)
        if not os.fork():
            os.close(go)
            os.read(wait, 1)             # until the parent lets all go at once
            os.write(write, json.dumps(one(*task)).encode())
            os._exit(0)
        os.close(write)
    os.close(wait); os.close(go)
    print(json.dumps([json.loads(os.fdopen(o).read() or 'null') for o in reads]), file=answers, flush=True)
    for _ in range(8): os.wait()
'''

@pytest.fixture(scope='module')
def crowd():
    "Have eight processes do the same at the same moment, each as new as a start with the library loaded."
    if not hasattr(os, 'fork'): pytest.skip('needs fork')
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=os.pathsep.join([str(Path(data.__file__).parents[1]), *filter(None, sys.path)]))
    proc = subprocess.Popen([sys.executable, '-c', CROWD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, env=env)
    def all_of_them(sums, code, mirrors=()):
        proc.stdin.write(json.dumps([dict(XDG_CACHE_HOME=os.environ['XDG_CACHE_HOME']), mirrors, sums, code]) + '\n')
        proc.stdin.flush()
        return json.loads(proc.stdout.readline())
    yield all_of_them
    proc.stdin.close()
    assert proc.wait(20) == 0
    proc.stdout.close()

def test_first_starts_together(crowd, server, remote, cache):
    "All get the data, and one of them fetched it."
    for _ in range(6):
        shutil.rmtree(cache, ignore_errors=True)
        server.asked.clear()
        got = crowd(data._sums, 'd.load_mnist().source', [server.url('slowly')])
        assert got == ['downloads']*8 and server.asked == {'slowly': 4}
    assert not [o for o in listing(cache) if 'making' in o]

def test_failing_starts_together(crowd, server, remote, cache):
    "The server comes back while they wait, or goes away. All get the same, whichever that is."
    for how in ('after_six', 'first_four', 'missing', 'after_six'):
        shutil.rmtree(cache, ignore_errors=True)
        server.asked.clear()
        got = crowd(data._sums, 'd.load_mnist().source', [server.url(how)])
        assert len(set(got)) == 1, got
        assert got[0] == dict(first_four='downloads').get(how, EMBEDDED)

def test_damaged_cache_and_many_starts(crowd, server, remote, cache):
    first = load_mnist()
    f = cache/'downloads'/'train-images-idx3-ubyte.gz'
    for _ in range(5):
        f.write_bytes(f.read_bytes()[:-5])
        assert crowd(data._sums, 'd.load_mnist().source', [server.url('whole')]) == ['downloads']*8
    assert server.asked['whole'] == 4 + 5 and same(load_mnist(), first)

def test_samples_made_together(crowd, cache):
    "One good copy, and no trace of a second; also where a damaged one was."
    everything = ('hashlib.sha256(b"".join(o.numpy().tobytes() for part in d.load_mnist(path='
                  'd.mnist_sample(range(10), "embedded"))[:2] for o in part)).hexdigest()')
    expected = load_mnist(path='embedded')
    sums = crowd({}, everything)
    folder = mnist_sample(range(10), 'embedded')
    files = listing(cache)
    assert len(set(sums)) == 1 and len(sums[0]) == 64 and list((cache/'png').iterdir()) == [folder.parent]
    assert same(load_mnist(path=folder), expected)
    (folder/'train'/'0'/'0.png').write_bytes(b'')
    assert crowd({}, everything) == sums and listing(cache) == files

def test_many_writers_of_one_file(crowd, tmp_path):
    "Each write is whole, old leftovers go, and none of the writers stumbles over another's temporary folder."
    f = tmp_path/'file'
    for i in range(30):
        (tmp_path/f'.making-file-{i}').mkdir()
        os.utime(tmp_path/f'.making-file-{i}', (0, 0))
    write = f'[exec("with d.write_whole({str(f)!r}) as new: new.write_bytes(bytes([os.getpid()%256])*100_000)") for _ in range(25)] and 1'
    assert crowd({}, write) == [1]*8
    content = f.read_bytes()
    assert len(content) == 100_000 and len(set(content)) == 1 and listing(tmp_path) == ['file']
