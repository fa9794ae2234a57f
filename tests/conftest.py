"""What all tests share: a cache of their own, no network but this computer's own, and nothing left behind."""
import atexit, os, shutil, signal, socket, tempfile
from pathlib import Path

import pytest

# Hypothesis keeps notes where it is started; they go with the rest.
_notes = tempfile.mkdtemp(prefix='hypothesis-')
os.environ.setdefault('HYPOTHESIS_STORAGE_DIRECTORY', _notes)
atexit.register(shutil.rmtree, _notes, ignore_errors=True)
# A shell that starts this in the background has Ctrl-C ignored, and the tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)
MNIST = Path(os.environ.get('MNIST_PATH') or 'embedded')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "An empty cache for each test, its folder not yet made, and no way out of this computer."
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    here = '127.', '::1', 'localhost'
    lookup,connect = socket.getaddrinfo,socket.socket.connect
    def only_here(host):
        if not isinstance(host, (bytes, type(None))) and not str(host).startswith(here):
            raise OSError(f'the tests have no network, and {host} was asked for')
    def getaddrinfo(host, *args, **kwargs): only_here(host); return lookup(host, *args, **kwargs)
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6): only_here(address[0])
        return connect(self, address)
    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    monkeypatch.setattr(socket.socket, 'connect', guarded)
    return tmp_path/'cache'/'mnist_from_scratch'


@pytest.fixture
def mnist():
    "The folder with MNIST's four files, if MNIST_PATH names one."
    if len(list(MNIST.glob('*-ubyte*'))) < 4: pytest.skip("MNIST_PATH names no folder with MNIST's files")
    return MNIST


def listing(folder):
    "All that is in `folder`, at any depth, as relative paths."
    return sorted(str(o.relative_to(folder)) for o in folder.rglob('*'))
