"""What `data` reads and writes, and what it refuses: IDX files, folders of images, paths, choices, files made whole.

The downloads are in `test_download.py`, the pictures in `test_images.py`.
"""
import gzip, os, signal, socket, stat, subprocess, sys, tarfile, time, zipfile
from pathlib import Path

import numpy as np, pytest, torch
from conftest import listing
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import tensor

from mnist_from_scratch import data
from mnist_from_scratch.data import (EMBEDDED, DataError, get_data, hold_out, load_mnist, mnist_sample, read_idx,
                                     read_image, scale, write_whole)

posix = pytest.mark.skipif(os.name == 'nt', reason='POSIX only')
light = settings(max_examples=60, deadline=None, database=None)


def idx(array):
    "The bytes of an IDX file."
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>u4').tobytes() + array.astype('uint8').tobytes()

def four(folder, n=3, n_labels=None, label=1, side=28, leave_out='', dot='-', zipped=False):
    "A folder with four small IDX files."
    folder.mkdir(parents=True)
    for stem in ('train', 't10k'):
        arrays = dict(images=np.zeros((n, side, side)), labels=np.full(n if n_labels is None else n_labels, label))
        for kind,array in arrays.items():
            name = f'{stem}-{kind}{dot}idx{array.ndim}-ubyte'
            if name == leave_out: continue
            if zipped: (folder/f'{name}.gz').write_bytes(gzip.compress(idx(array)))
            else: (folder/name).write_bytes(idx(array))
    return folder

def pictures(folder, *names, size=(28, 28), grey=0):
    "A folder of small images: `train/3/1.png` and so on."
    for i,name in enumerate(names):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', size, grey or i).save(folder/name)
    return folder

def same(a, b): return all(map(torch.equal, a.train + a.valid, b.train + b.valid))

def refused(what, f, *args, **kwargs):
    with pytest.raises(DataError) as e: f(*args, **kwargs)
    assert what in str(e.value)
    return str(e.value)


# IDX files

two = idx(np.arange(12).reshape(2, 2, 3))

@light
@given(st.one_of(st.tuples(st.integers(0, 30)), st.tuples(*[st.integers(0, 5)]*3)), st.booleans(), st.integers(0, 2**32-1))
def test_idx_round_trip(tmp_path_factory, shape, zipped, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape)
    f = tmp_path_factory.mktemp('idx')/'file'
    f.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    got = read_idx(f)
    assert got.dtype == np.uint8 and got.shape == tuple(shape) and (got == array).all()
    assert (read_idx(str(f)) == array).all()

@light
@given(st.integers(0, len(two)-1), st.binary(min_size=1, max_size=9), st.booleans())
def test_idx_too_short_or_too_long(tmp_path_factory, n, more, zipped):
    f = tmp_path_factory.mktemp('idx')/'file'
    for content in (two[:n], two + more):
        f.write_bytes(gzip.compress(content) if zipped else content)
        refused(str(f), read_idx, f)

@light
@given(st.binary(max_size=40))
def test_idx_of_any_bytes(tmp_path_factory, content):
    f = tmp_path_factory.mktemp('idx')/'file'
    for content in (content, b'\0\0\x08' + content, b'\x1f\x8b' + content):
        f.write_bytes(content)
        try: assert read_idx(f).dtype == np.uint8
        except DataError as e: assert str(f) in str(e)

def test_idx_every_gzip_cut_and_flip(tmp_path):
    "Each byte of a gzipped file matters: cut anywhere it is refused, and a flipped bit is refused or harmless."
    whole,f = gzip.compress(two, mtime=0),tmp_path/'file.gz'
    for n in range(2, len(whole)):
        f.write_bytes(whole[:n])
        refused('file.gz', read_idx, f)
    for i in range(2, len(whole)):
        f.write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i+1:])
        try: assert (read_idx(f) == np.arange(12).reshape(2, 2, 3)).all()
        except DataError as e: assert 'file.gz' in str(e)

@pytest.mark.parametrize('content, what', [
    (two[:-1], 'array of size 11 into shape (2,2,3)'), (two + b'x', 'array of size 13'), (two[:10], 'buffer is smaller'),
    (bytes([0, 0, 8, 3]) + b'\xff'*12 + bytes(100), 'array of size 100 into'), (b'', 'it starts with '),
    (b'<html>404 not found</html>', 'it starts with 3c 68 74 6d'), (bytes([0, 0, 9, 1, 0, 0, 0, 1, 0]), '00 00 09 01'),
    (bytes([0, 0, 8, 2]) + bytes(8), '00 00 08 02'), (gzip.compress(two)[:-12], 'EOFError')])
def test_idx_that_is_none(tmp_path, content, what):
    (tmp_path/'file').write_bytes(content)
    assert 'Expected a whole IDX file' in refused(what, read_idx, tmp_path/'file')

def test_idx_that_is_no_file(tmp_path):
    refused('nowhere', read_idx, tmp_path/'nowhere')
    refused(str(tmp_path), read_idx, tmp_path)

def test_idx_promise_is_not_believed(tmp_path):
    "A small file that unpacks to 2 GB of what its header promises costs no more than the most that is read."
    with gzip.open(tmp_path/'bomb', 'wb', compresslevel=1) as f:
        f.write(bytes([0, 0, 8, 1]) + (2**31).to_bytes(4, 'big'))
        for _ in range(64): f.write(bytes(2**20))
    refused('array of size', read_idx, tmp_path/'bomb')


# Four files

def test_four_files(tmp_path):
    for name,kw in dict(plain={}, zipped=dict(zipped=True), dotted=dict(dot='.')).items():
        got = load_mnist(path=four(tmp_path/name, n=2, label=4, **kw))
        assert (got.source, got.classes, got.digits) == (name, ['4'], [4])
        assert got.train[0].shape == (2, 28, 28) and got.train[0].dtype == torch.uint8
        assert got.train[1].dtype == torch.int64
    assert load_mnist(path=str(tmp_path/'plain')).source == 'plain'

def test_other_data_of_the_same_form(tmp_path):
    "Fashion-MNIST has MNIST's names and counts. It is called what its folder is called, even where that is MNIST."
    rng = np.random.default_rng(0)
    for name in ('FashionMNIST', 'MNIST', EMBEDDED):
        folder = four(tmp_path/name)
        for stem in ('train', 't10k'):
            (folder/f'{stem}-images-idx3-ubyte').write_bytes(idx(rng.integers(0, 256, (20, 28, 28))))
            (folder/f'{stem}-labels-idx1-ubyte').write_bytes(idx(np.arange(20)%10))
        got = load_mnist(path=folder)
        assert got.classes == list('0123456789') and got.digits == list(range(10))
        assert got.source == (name if name == 'FashionMNIST' else f'a folder called {name}')

def test_four_files_that_do_not_fit(tmp_path):
    def both(**kw): return four(tmp_path/str(len(list(tmp_path.iterdir()))), **kw)
    refused('images (3, 28, 28) and labels (2,)', load_mnist, path=both(n_labels=2))
    refused('labels [11]', load_mnist, path=both(label=11))
    refused('images (3, 20, 20)', load_mnist, path=both(side=20))
    refused('n at least 1', load_mnist, path=both(n=0))
    refused('lacks t10k-labels-idx1-ubyte', load_mnist, path=both(leave_out='t10k-labels-idx1-ubyte'))
    f = both()
    (f/'t10k-labels-idx1-ubyte').write_bytes(idx(np.array([2, 2, 2])))
    refused('train has the labels [1] and valid [2]', load_mnist, path=f)
    (f/'t10k-labels-idx1-ubyte').write_bytes(idx(np.zeros((3, 28, 28))))
    refused('labels (3, 28, 28)', load_mnist, path=f)
    f = both()
    (f/'train-images-idx3-ubyte').unlink()
    (f/'train-images-idx3-ubyte').mkdir()
    refused('train-images', load_mnist, path=f)
    (f/'train-images-idx3-ubyte').rmdir()
    (f/'train-images-idx3-ubyte').symlink_to('train-images-idx3-ubyte')
    refused('lacks train-images', load_mnist, path=f)


# Folders of images

def test_folder_of_digits(tmp_path):
    for parts in (('train', 'valid'), ('training', 'testing')):
        names = [f'{o}/{y}/{i}.png' for o in parts for y in (3, 7) for i in range(3)]
        got = load_mnist(path=pictures(tmp_path/parts[0], *names))
        assert (got.source, got.digits, got.classes) == (parts[0], [3, 7], ['3', '7'])
        assert got.train[1].tolist() == [3, 7]*3         # by number, and not by name

def test_order_is_that_of_the_numbers(tmp_path):
    "As in the files that the images came from; without numbers the classes take turns."
    got = load_mnist(path=pictures(tmp_path/'n', 'train/3/2.png', 'train/3/10.png', 'train/7/9.png', 'valid/3/1.png', 'valid/7/2.png'))
    assert got.train[1].tolist() == [3, 7, 3] and got.train[0][:, 0, 0].tolist() == [0, 2, 1]
    got = load_mnist(path=pictures(tmp_path/'a', 'train/3/a.png', 'train/3/b.png', 'train/7/x.png', 'valid/3/1.png', 'valid/7/2.png'))
    assert got.train[1].tolist() == [3, 7, 3]
    long = '9'*40
    got = load_mnist(path=pictures(tmp_path/'l', f'train/3/{long}.png', 'train/3/10.png', 'valid/3/1.png'))
    assert got.train[0][:, 0, 0].tolist() == [1, 0]

def test_folder_of_other_classes(tmp_path):
    names = [f'{o}/{c}/{i}.png' for o in ('train', 'valid') for c in ('dog', 'cat', '12') for i in range(2)]
    got = load_mnist(path=pictures(tmp_path/'pets', *names))
    assert (got.classes, got.digits) == (['12', 'cat', 'dog'], [0, 1, 2])
    assert repr(got) == "pets: 6 images to train on, 6 to validate with, of ['12', 'cat', 'dog']"
    some = load_mnist([2, 0], path=tmp_path/'pets')
    assert (some.classes, some.digits, len(some.train[1])) == (['12', 'dog'], [0, 2], 4)

def test_more_than_ten_classes(tmp_path):
    names = [f'{o}/{c}/1.png' for o in ('train', 'valid') for c in 'abcdefghijklm']
    got = load_mnist(path=pictures(tmp_path/'letters', *names))
    assert got.classes == list('abcdefghijklm') and got.digits == list(range(13))
    assert same(load_mnist(path=mnist_sample(None, tmp_path/'letters')), got)

def test_one_folder_is_split(tmp_path):
    "Always alike, in each class about one in five, each image in one part."
    names = [f'{c}/{i}.png' for c,n in dict(few=2, some=7, many=30).items() for i in range(n)]
    folder = pictures(tmp_path/'one', *names)
    got = load_mnist(path=folder)
    assert same(got, load_mnist(path=folder)) and got.classes == ['few', 'many', 'some']
    assert torch.bincount(got.valid[1]).tolist() == [1, 6, 1]
    greys = torch.cat([got.train[0], got.valid[0]])[:, 0, 0].tolist()
    assert sorted(greys) == list(range(39))
    assert load_mnist(path=pictures(tmp_path/'digits', *[f'{c}/{i}.png' for c in '35' for i in range(5)])).digits == [3, 5]
    pictures(folder, 'one_only/1.png')
    refused('with two images', load_mnist, path=folder)

def test_what_is_no_image_is_left_out(tmp_path):
    folder = pictures(tmp_path/'f', 'train/3/1.png', 'valid/3/1.png')
    for name in ('.DS_Store', '._1.png', 'notes.txt', '2.eps', '3.pdf'): (folder/'train'/'3'/name).write_bytes(b'x')
    (folder/'train'/'.hidden').mkdir()
    (folder/'labels.csv').write_text('name,label')
    assert len(load_mnist(path=folder).train[1]) == 1

def test_folders_with_something_wrong(tmp_path):
    ok = 'train/3/1.png', 'valid/3/1.png'
    (tmp_path/'empty').mkdir()
    refused('no images', load_mnist, path=tmp_path/'empty')
    (tmp_path/'file').mkdir()
    (tmp_path/'file'/'readme.txt').write_text('x')
    refused('no images', load_mnist, path=tmp_path/'file')
    refused("['3'] to train and ['7']", load_mnist, path=pictures(tmp_path/'uneven', 'train/3/1.png', 'valid/7/1.png'))
    refused('28×30', load_mnist, path=pictures(tmp_path/'large', *ok, size=(28, 30)))
    folder = pictures(tmp_path/'noimage', *ok)
    (folder/'valid'/'3'/'1.png').write_bytes(b'no')
    refused('1.png could not be read', load_mnist, path=folder)
    folder = pictures(tmp_path/'hollow', *ok)
    (folder/'train'/'7').mkdir()
    assert 'sorted by class' in refused(f'no images in {folder.resolve()/"train"/"7"}', load_mnist, path=folder)
    (tmp_path/'bare'/'train').mkdir(parents=True)
    (tmp_path/'bare'/'valid').mkdir()
    refused('no images', load_mnist, path=tmp_path/'bare')


# Paths and choices

def test_archives_and_pickles_are_not_read(tmp_path):
    "None is opened, so none can run code, unpack gigabytes or leave its folder; the error says what to do."
    harm = tmp_path/'harm-was-done'
    class Harm:
        def __reduce__(self): return os.mkdir, (str(harm),)
    import pickle
    with gzip.open(tmp_path/'mnist.pkl.gz', 'wb') as f: pickle.dump(Harm(), f)
    pictures(tmp_path/'mnist_sample', 'train/3/1.png', 'valid/3/1.png')
    with tarfile.open(tmp_path/'mnist_sample.tgz', 'w:gz') as t: t.add(tmp_path/'mnist_sample', 'mnist_sample')
    with zipfile.ZipFile(tmp_path/'mnist.zip', 'w') as z: z.write(tmp_path/'mnist_sample'/'train'/'3'/'1.png')
    (tmp_path/'train-images-idx3-ubyte').write_bytes(two)
    for name in ('mnist.pkl.gz', 'mnist_sample.tgz', 'mnist.zip', 'train-images-idx3-ubyte'):
        text = refused(name, load_mnist, path=tmp_path/name)
        assert 'Unpack archives first' in text and 'IDX files in place of mnist.pkl.gz' in text
    assert not harm.exists()

@pytest.mark.parametrize('path', ['nowhere', 'file/below', '~nobody-of-this-name/x', 'a\0b', 'x'*300, 7, b'bytes', ['list']])
def test_path_that_leads_nowhere(tmp_path, monkeypatch, path, cache):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'file').write_bytes(two)
    text = refused('Expected a folder', load_mnist, path=path)
    assert str(path) in text and 'MNIST_PATH' in text
    if isinstance(path, str) and '\0' not in path:
        monkeypatch.setenv('MNIST_PATH', path)
        for f in (load_mnist, mnist_sample, get_data): refused('Expected a folder', f)
    assert not cache.exists()

def test_paths_that_are_right(tmp_path, monkeypatch):
    four(tmp_path/'mine')
    monkeypatch.setenv('HOME', str(tmp_path)); monkeypatch.setenv('USERPROFILE', str(tmp_path))
    monkeypatch.chdir(tmp_path/'mine')
    (tmp_path/'link').symlink_to('mine')
    for path in ('~/mine', '.', '../mine', str(tmp_path/'mine'), tmp_path/'link'): assert load_mnist(path=path).source == 'mine'
    monkeypatch.setenv('MNIST_PATH', '~/mine')
    assert load_mnist().source == 'mine'
    monkeypatch.setenv('MNIST_PATH', 'nowhere')
    assert load_mnist(path=tmp_path/'mine').source == 'mine'

def test_embedded(monkeypatch, capsys):
    data._say.cache_clear()
    got = load_mnist(path='embedded')
    assert (got.source, got.classes) == (EMBEDDED, list('0123456789'))
    assert got.train[0].shape == (1197, 28, 28) and got.valid[0].shape == (600, 28, 28)
    assert got.train[0].dtype == torch.uint8 and got.train[1].dtype == torch.int64
    assert repr(got) == 'scikit-learn digits: 1,197 digits to train on, 600 to validate with, of ' + repr(list(range(10)))
    monkeypatch.setenv('MNIST_PATH', 'embedded')
    assert same(load_mnist(), got)
    said = capsys.readouterr().out
    assert said.count('\n') == 1 and 'scikit-learn' in said and 'network' not in said

@pytest.mark.parametrize('bad', [(3, 3), (), 7, (True, 3), (3.5, 7), (float('inf'), 3), [None], '37', ('3', '7'), (3, 12), (-1,), {3: 4, 12: 1}])
def test_digits_that_are_none(bad):
    for f in (load_mnist, mnist_sample): assert 'has: [0, 1' in refused(f'digits={bad!r}', f, bad, 'embedded')

@pytest.mark.parametrize('good', [[7, 3], {3, 7}, (o for o in (3, 7)), np.array([3, 7]), tensor([3, 7]), (3., 7.)])
def test_digits_of_any_kind(good):
    got = load_mnist(good, 'embedded')
    assert (got.digits, got.classes, got.train[1].unique().tolist()) == ([3, 7], ['3', '7'], [3, 7])

def test_digits_that_the_data_lacks(tmp_path):
    for f in (load_mnist, mnist_sample): refused('digits=(3, 7)', f, (3, 7), four(tmp_path/f.__name__))


# MNIST itself

def test_mnist(mnist):
    full,both = load_mnist(path=mnist),load_mnist((3, 7), mnist)
    assert full.source == both.source == 'MNIST'
    assert [len(o) for o in (*full.train, *full.valid)] == [60_000]*2 + [10_000]*2
    assert [(y == d).sum().item() for _,y in (both.train, both.valid) for d in (3, 7)] == [6131, 6265, 1010, 1028]
    sample = mnist_sample((3, 7), mnist)
    again = load_mnist(path=sample)
    assert same(again, both) and again.source == 'MNIST'
    assert sorted(o.name for o in (sample/'train'/'3').iterdir())[:2] == ['10.png', '10000.png']
    assert torch.equal(tensor(read_image(sample/'train/3/10.png')), full.train[0][10])
    x,y,vx,vy = get_data(mnist)
    assert x.shape == (50_000, 784) and vx.shape == (10_000, 784) and x.dtype == torch.float32
    assert torch.equal(x[0], full.train[0][0].flatten()/256) and torch.equal(vy, full.train[1][50_000:])
    assert abs(x.mean() - 0.1304) < 1e-4 and abs(x.std() - 0.3073) < 1e-4

def test_mnist_is_called_mnist_only_if_it_is(mnist, tmp_path):
    "One pixel, one label, one image too few, or a swap of two images that differ: then it is not MNIST."
    full = load_mnist((3, 7), mnist)
    (x,y),valid = full.train,full.valid
    def name(x, y, valid=valid): return data._checked((x, y), valid, 'mine').source
    assert name(x, y) == 'MNIST'
    one = x.clone(); one[5, 14, 14] ^= 1
    wrong = y.clone(); wrong[0] = 10 - wrong[0]
    threes = (y == 3).nonzero()[:2, 0]
    swapped = x.clone(); swapped[threes] = x[threes.flip(0)]
    for bad in ((one, y), (x, wrong), (x[1:], y[1:]), (swapped, y), (x, y, (valid[0][1:], valid[1][1:])),
                (torch.cat([x, valid[0][:1]]), torch.cat([y, valid[1][:1]]), (valid[0][1:], valid[1][1:]))):
        assert name(*bad) == 'mine'

def test_all_of_mnist_in_less_than_a_second(mnist):
    "0.3 s where nothing else runs. The best of three, and room for a busy machine."
    def seconds():
        start = time.process_time(); load_mnist(path=mnist); return time.process_time() - start
    assert min(seconds() for _ in range(3)) < 1


# The folder of PNG files

def test_sample_holds_the_same_images(cache):
    folder = mnist_sample(path='embedded')
    small = load_mnist((3, 7), path='embedded')
    assert same(load_mnist(path=folder), small) and folder.name == '37'
    rows = (folder/'labels.csv').read_text().splitlines()
    assert rows[0] == 'name,label' and len(rows) == 1 + len(small.train[1]) + len(small.valid[1])
    for row in rows[1:9]:
        name,label = row.split(',')
        assert (folder/name).is_file() and Path(name).parent.name == label
    numbers = [int(row.split(',')[0].split('/')[-1][:-4]) for row in rows[1:] if row.startswith('train')]
    y = load_mnist(path='embedded').train[1]
    assert numbers == ((y == 3) | (y == 7)).nonzero()[:, 0].tolist()

def test_sample_is_made_once(cache):
    folder = mnist_sample((1,), 'embedded')
    before = {o: o.stat().st_mtime_ns for o in folder.rglob('*')}
    assert mnist_sample([1], 'embedded') == folder
    assert {o: o.stat().st_mtime_ns for o in folder.rglob('*')} == before
    assert not [o for o in listing(cache) if 'making' in o]

def test_samples_of_different_data_do_not_meet(tmp_path):
    a,b = (pictures(tmp_path/o, 'train/3/1.png', 'valid/3/1.png', grey=g) for o,g in (('a', 5), ('b', 6)))
    folders = [mnist_sample((3,), o) for o in (a, b, 'embedded')]
    assert len(set(folders)) == 3
    for o,folder in zip((a, b, 'embedded'), folders): assert same(load_mnist(path=folder), load_mnist((3,), o))

def _flip(f):
    content = bytearray(f.read_bytes())
    content[len(content)//2] ^= 1
    f.write_bytes(content)
damages = dict(a_bit=_flip, cut=lambda f: f.write_bytes(f.read_bytes()[:-9]), empty=lambda f: f.write_bytes(b''), gone=Path.unlink,
               more=lambda f: f.with_name('77777.png').write_bytes(f.read_bytes()),
               renamed=lambda f: f.rename(f.with_name('77777.png')),
               other=lambda f: Image.new('L', (28, 28), 9).save(f),
               no_sum=lambda f: (f.parents[3]/'sha256').unlink(), bad_sum=lambda f: (f.parents[3]/'sha256').write_bytes(b'\xff\0'))

@pytest.mark.parametrize('damage', damages.values(), ids=damages)
def test_damaged_sample_is_made_anew(damage):
    small = load_mnist((0,), 'embedded')
    folder = mnist_sample((0,), 'embedded')
    files = listing(folder)
    damage(folder/'train'/'0'/'0.png')
    assert mnist_sample((0,), 'embedded') == folder
    assert same(load_mnist(path=folder), small) and listing(folder) == files

def test_cache_is_pruned(cache):
    "A month after it was last asked for a folder goes, when another is made; so do what the first edition left, and nothing else."
    old,used = mnist_sample((0,), 'embedded'),mnist_sample((1,), 'embedded')
    (cache/'tensors').mkdir()
    (cache/'reader.safetensors').write_bytes(b'a model')
    long_ago = time.time() - 40*24*3600
    for o in (old.parent, used.parent, cache/'tensors', cache/'reader.safetensors'): os.utime(o, (long_ago, long_ago))
    mnist_sample((1,), 'embedded')
    new = mnist_sample((2,), 'embedded')
    assert sorted((cache/'png').iterdir()) == sorted([used.parent, new.parent])
    assert sorted(o.name for o in cache.iterdir()) == ['lock', 'png', 'reader.safetensors']

def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    "A file where its folder should be, which stops root too. What needs no cache works; the error tells what to set."
    (tmp_path/'file').write_bytes(b'x')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'file'))
    assert load_mnist(path=four(tmp_path/'good')).source == 'good'
    for path in ('embedded', tmp_path/'good'):
        text = refused('Set XDG_CACHE_HOME to a folder that can be written', mnist_sample, (1,), path)
        assert str(tmp_path/'file') in text and 'network' not in text and 'online' not in text

@posix
def test_cache_that_may_not_be_written(cache):
    folder = mnist_sample((0,), 'embedded')
    for o in (cache, cache/'png'): o.chmod(0o500)
    try:
        if os.access(cache, os.W_OK): pytest.skip('root may write everywhere; the test above is for root too')
        assert mnist_sample((0,), 'embedded') == folder
        refused('Set XDG_CACHE_HOME', mnist_sample, (1,), 'embedded')
    finally:
        for o in (cache, cache/'png'): o.chmod(0o700)


# get_data, scale, hold_out

def test_get_data():
    x,y,vx,vy = get_data('embedded')
    full = load_mnist(path='embedded').train
    assert (x.shape, vx.shape, x.dtype, y.dtype) == ((997, 784), (200, 784), torch.float32, torch.int64)
    assert torch.equal(torch.cat([x, vx]), full[0].flatten(1)/256) and torch.equal(torch.cat([y, vy]), full[1])

def test_scale():
    x = scale(torch.arange(256).byte())
    assert x.dtype == torch.float32 and torch.equal(x, torch.arange(256)/255)
    for dtype in (torch.float32, torch.float16, torch.int64, torch.bool):
        with pytest.raises(TypeError, match=str(dtype)): scale(torch.ones(2).to(dtype))
    with pytest.raises(TypeError): scale(scale(torch.ones(2).byte()))

@light
@given(st.integers(2, 50), st.data(), st.integers(0, 2**31))
def test_hold_out(n, draw, seed):
    k = draw.draw(st.integers(1, n-1))
    x,y = torch.arange(n*2).view(n, 2),torch.arange(n)
    state = torch.get_rng_state()
    (a,b),(c,d) = hold_out(x, y, k, seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(a) == len(b) == n-k and len(c) == len(d) == k
    assert sorted(b.tolist() + d.tolist()) == list(range(n)) and torch.equal(x[b], a) and torch.equal(x[d], c)
    assert b.tolist() == sorted(b.tolist()) and d.tolist() == sorted(d.tolist())
    assert torch.equal(hold_out(x, y, k, seed)[1][1], d)

@pytest.mark.parametrize('n', [0, -1, 5, 6])
def test_hold_out_that_leaves_none(n):
    with pytest.raises(ValueError, match='hold_out'): hold_out(torch.ones(5, 2), torch.ones(5), n, 42)

def test_hold_out_needs_a_label_for_each():
    with pytest.raises(ValueError, match='hold_out'): hold_out(torch.ones(5, 2), torch.ones(6), 2, 42)
    assert hold_out(torch.arange(99), torch.arange(99), 9, 1)[1][1].tolist() != hold_out(torch.arange(99), torch.arange(99), 9, 2)[1][1].tolist()


# write_whole

def test_whole_or_not_at_all(tmp_path):
    f = tmp_path/'a'/'b'/'file.txt'
    with pytest.raises(ZeroDivisionError), write_whole(f) as new: new.write_text(f'{1/0}')
    assert listing(tmp_path) == ['a', 'a/b']
    with write_whole(f) as new: new.write_text('hello')
    with pytest.raises(ZeroDivisionError), write_whole(f) as new:
        new.write_text('half')
        1/0
    assert f.read_text() == 'hello'
    with write_whole(str(f)) as new:
        assert new.name == f.name and new.parent != f.parent and not new.exists()
        new.write_text('new')
    assert f.read_text() == 'new' and listing(tmp_path) == ['a', 'a/b', 'a/b/file.txt']
    with pytest.raises(FileNotFoundError), write_whole(f): pass        # nothing was made
    assert f.read_text() == 'new'

def test_whole_folder(tmp_path):
    for _ in range(2):
        try:
            with write_whole(tmp_path/'d') as new: new.mkdir(); (new/'f').write_text('x')
        except OSError: pass
        assert listing(tmp_path) == ['d', 'd/f']
    with pytest.raises(OSError, match='d'), write_whole(tmp_path/'d') as new: new.mkdir(); (new/'g').write_text('x')
    with pytest.raises(OSError, match='d'), write_whole(tmp_path/'d') as new: new.write_text('a file over a folder')
    assert listing(tmp_path) == ['d', 'd/f']

def test_home_is_your_home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path)); monkeypatch.setenv('USERPROFILE', str(tmp_path)); monkeypatch.chdir(tmp_path)
    with write_whole('~/x/file') as new: new.write_text('hello')
    assert (tmp_path/'x'/'file').read_text() == 'hello' and not (tmp_path/'~').exists()

@posix
def test_devices_and_the_like_are_left_alone(tmp_path):
    "/dev/null and its kind: a pipe, a socket, and links to them. (A link is not /dev/null: if this fails nothing is lost.)"
    os.mkfifo(tmp_path/'pipe')
    (tmp_path/'null').symlink_to('/dev/null'); (tmp_path/'link').symlink_to('pipe')
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path/'socket'))
        before = listing(tmp_path)
        for name in ('pipe', 'null', 'link', 'socket'):
            with pytest.raises(OSError, match='no regular file'), write_whole(tmp_path/name) as new: new.write_text('x')
            with pytest.raises(OSError, match='no regular file'): 
                with write_whole(tmp_path/name): pytest.fail('work was done for nothing')
    assert listing(tmp_path) == before and stat.S_ISFIFO((tmp_path/'pipe').stat().st_mode)
    assert (tmp_path/'null').is_symlink() and Path('/dev/null').is_char_device()

@posix
def test_links_are_replaced_and_not_followed(tmp_path):
    (tmp_path/'target').write_text('mine')
    (tmp_path/'link').symlink_to('target'); (tmp_path/'dangling').symlink_to('nowhere'); (tmp_path/'loop').symlink_to('loop')
    for name in ('link', 'dangling', 'loop'):
        with write_whole(tmp_path/name) as new: new.write_text('new')
        assert (tmp_path/name).read_text() == 'new' and not (tmp_path/name).is_symlink()
    assert (tmp_path/'target').read_text() == 'mine' and not (tmp_path/'nowhere').exists()

def test_names_of_any_length_and_kind(tmp_path):
    for name in ('x'*240, 'ü'*100, '.hidden', 'a b', '[x]*?' if os.name != 'nt' else 'x'):
        with write_whole(tmp_path/name) as new: new.write_text('x')
    assert len(listing(tmp_path)) == 5

def test_place_that_cannot_be_written(tmp_path):
    (tmp_path/'file').write_text('x')
    with pytest.raises(OSError, match='file'), write_whole(tmp_path/'file'/'below') as new: new.write_text('x')
    assert (tmp_path/'file').read_text() == 'x'

@posix
def test_leftovers(tmp_path):
    "After kill -9 the old file stands. A day later the next writer of that file removes what was left, and nothing of others'."
    f = tmp_path/'model.st'
    f.write_text('old')
    code = 'import os, sys; from mnist_from_scratch.data import write_whole\n' \
           'with write_whole(sys.argv[1]) as new: new.write_text("half"); os.kill(os.getpid(), 9)'
    assert subprocess.run([sys.executable, '-c', code, str(f)]).returncode == -signal.SIGKILL
    (left,) = tmp_path.glob('.making-*')
    assert f.read_text() == 'old' and left.name.startswith('.making-model.st-')
    others = [tmp_path/'.making-other.st-abc', tmp_path/'.making-plans', tmp_path/'.making-model.st']
    for o in others: o.mkdir()
    (tmp_path/'.making-model.st-gone').symlink_to('nowhere')     # as if another process had removed it since it was listed
    (tmp_path/'.making-model.st-file').write_text('x')
    with write_whole(f) as new: new.write_text('new')
    assert left.exists()                                         # it could be another's, at work
    for o in (left, *others, tmp_path/'.making-model.st-file'): os.utime(o, (0, 0))
    with write_whole(f) as new: new.write_text('newer')
    assert f.read_text() == 'newer' and not left.exists() and all(o.is_dir() for o in others)
    assert (tmp_path/'.making-model.st-file').exists()

def test_temporary_folder_that_goes_away(tmp_path):
    "Someone removes the temporary folder while it is written in: an error, and what was there stays."
    import shutil
    f = tmp_path/'file'
    f.write_text('old')
    with pytest.raises(OSError), write_whole(f) as new: shutil.rmtree(new.parent)
    assert f.read_text() == 'old' and listing(tmp_path) == ['file']


def test_imports_are_light():
    "Importing `data` loads nothing of fastai, nbdev, Jupyter, scikit-learn or SciPy."
    code = ('import sys, mnist_from_scratch.data; '
            'print(*{o.split(".")[0] for o in sys.modules} & {"fastai", "nbdev", "IPython", "sklearn", "scipy", "fastdownload", "requests"})')
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == ''
