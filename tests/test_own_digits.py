"Readers: probabilities, modes put back, mistakes, files whole or not at all, answers in words."
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import matplotlib, pytest, torch
from torch import nn, tensor

from mnist_from_scratch import own_digits
from mnist_from_scratch.convolutions import conv_net
from mnist_from_scratch.own_digits import (
    DigitReader, in_words, load_reader, probabilities, save_reader, show_mistakes, train_reader)
from mnist_from_scratch.saving import write_state
from mnist_from_scratch.ten_digits import softmax
from mnist_from_scratch.tensors import check

matplotlib.use('agg')


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return DigitReader(conv_net()).eval()

@pytest.fixture
def images(): return torch.rand(70, 28, 28, generator=torch.Generator().manual_seed(1))

@pytest.fixture
def data():
    "A small set of threes and sevens: bars at two heights."
    g = torch.Generator().manual_seed(2)
    y = tensor([3, 7])[torch.randint(2, (300,), generator=g)]
    x = torch.zeros(300, 28, 28, dtype=torch.uint8)
    x[y == 3, 6:10, 4:24] = 200
    x[y == 7, 18:22, 4:24] = 200
    x += torch.randint(30, x.shape, generator=g, dtype=torch.uint8)
    return SimpleNamespace(train=(x, y), valid=(x[:50], y[:50]), source='bars', digits=[3, 7], classes=['3', '7'])


def test_the_smoothing_is_undone():
    z = torch.randn(7, 10, generator=torch.Generator().manual_seed(1))
    smoothed = 0.9*softmax(z) + 0.1/10
    check(DigitReader(nn.Identity(), 0.1)(smoothed.log()), softmax(z), tol=1e-4)
    check(DigitReader(nn.Identity(), 0.)(z), softmax(z), tol=1e-4, atol=2e-6)
    p = DigitReader(nn.Identity(), 0.1)(100*z)
    check(p.sum(1), torch.ones(7))
    assert p.min() > 0


def test_probabilities_evaluate_and_put_each_mode_back(reader, images):
    expected = reader(images).detach()
    busy = deepcopy(reader).train()
    busy.net[6].eval()
    buffers = [o.clone() for o in busy.buffers()]
    check(probabilities(busy, images), expected, tol=1e-4)
    assert busy.training and busy.net[10].training and not busy.net[6].training
    assert all(map(torch.equal, busy.buffers(), buffers))


def test_modes_are_put_back_after_an_error(reader, images):
    def broken(*o): raise KeyError('broken')
    reader.train().net.register_forward_hook(broken)
    with pytest.raises(KeyError, match='broken'): probabilities(reader, images)
    assert reader.training


def test_probabilities_in_pieces_and_without_gradients(images):
    calls = []
    def f(x):
        calls.append(len(x))
        return x.sum((1, 2))[:, None]
    x = images.repeat(30, 1, 1).requires_grad_()
    p = probabilities(f, x)
    assert calls == [1000, 1000, 100] and not p.requires_grad and p.shape == (2100, 1)


def test_mistakes(images):
    y,p = tensor([0, 1, 2, 0]),tensor([[.9, .1, 0], [.8, .2, 0], [.05, .9, .05], [.4, .6, 0]])
    assert show_mistakes(images[:4], y, p).tolist() == [2, 1, 3]
    assert show_mistakes(images[:4], y, p, k=1).tolist() == [2]
    assert len(show_mistakes(images[:0], y[:0], p[:0])) == 0
    assert len(show_mistakes(images[:1], y[:1], p[:1])) == 0


def test_the_first_mistake_has_the_top_loss(images):
    z,y = torch.randn(70, 10, generator=torch.Generator().manual_seed(3)),torch.arange(70)%10
    losses = nn.functional.cross_entropy(z, y, reduction='none')
    assert show_mistakes(images, y, softmax(z), 1).item() == losses.argmax()


def test_kept_and_read_again(reader, images, tmp_path):
    file = tmp_path/'sub'/'reader'
    save_reader(reader, file, digits=list(range(10)), doubt=0.5, data='MNIST')
    again,facts = load_reader(file)
    assert facts == dict(digits=list(range(10)), doubt=0.5, data='MNIST') and not again.training
    check(probabilities(again, images), probabilities(reader, images), tol=1e-4)
    assert [o.name for o in file.parent.iterdir()] == ['reader']


@pytest.mark.parametrize('state', [
    {'format': 'another'}, {'weights': {}}, dict(format=own_digits._FORMAT, facts={'digits': [0, 1]}, weights={}),
    dict(format=own_digits._FORMAT, weights={}, facts={})])
def test_a_foreign_state_is_refused(state, tmp_path):
    write_state(state, tmp_path/'other')
    with pytest.raises(ValueError, match='other'): load_reader(tmp_path/'other')


def test_weights_for_other_digits_are_refused(reader, tmp_path):
    save_reader(reader, tmp_path/'two', digits=[3, 7], doubt=0.5)
    with pytest.raises(ValueError, match='two holds no trained reader'): load_reader(tmp_path/'two')


def test_damaged_and_foreign_files_are_refused(reader, tmp_path):
    file = tmp_path/'reader'
    save_reader(reader, file, digits=list(range(10)), doubt=0.5)
    raw = file.read_bytes()
    flipped = bytearray(raw); flipped[len(raw)//2] ^= 1
    torch.save({'format': own_digits._FORMAT, 'model': Path('x')}, tmp_path/'pickle')
    for name,contents in dict(half=raw[:5000], flipped=bytes(flipped), empty=b'', text=b'no model').items():
        (tmp_path/name).write_bytes(contents)
    for name in ('half', 'flipped', 'empty', 'text', 'pickle'):
        with pytest.raises(ValueError, match=name): load_reader(tmp_path/name)
    with pytest.raises(FileNotFoundError): load_reader(tmp_path/'nowhere')


def test_train_reader(data, tmp_path):
    file = tmp_path/'reader'
    facts = train_reader(data, file, epochs=3, device='cpu')
    reader,again = load_reader(file)
    assert again == facts and facts['digits'] == [3, 7] and facts['epochs'] == 3 and facts['data'] == 'bars'
    assert facts['accuracy'] > 0.9 and 0 < facts['doubt'] <= 1
    p = probabilities(reader, data.valid[0].float()/255)
    assert (tensor([3, 7])[p.argmax(1)] == data.valid[1]).float().mean() > 0.9


def test_nothing_is_written_if_training_is_interrupted(data, tmp_path, monkeypatch):
    def interrupted(*o): raise KeyboardInterrupt
    monkeypatch.setattr(own_digits, 'fit_network', interrupted)
    with pytest.raises(KeyboardInterrupt): train_reader(data, tmp_path/'reader', device='cpu')
    assert not list(tmp_path.iterdir())


def test_measured_on_digits_that_were_not_learned(data, tmp_path, monkeypatch):
    learned = []
    real = own_digits.fit_network
    def spy(x, y, epochs, seed):
        learned.append((x, y))
        return real(x, y, epochs, seed)
    monkeypatch.setattr(own_digits, 'fit_network', spy)
    train_reader(data, tmp_path/'reader', epochs=1, device='cpu')
    (x,_), = learned
    assert len(x) == 270 and len({o.numpy().tobytes() for o in x}) == 270


def test_in_words():
    facts = dict(digits=[3, 7, 8], doubt=0.5)
    p = tensor([0.05, 0.9, 0.05])
    assert in_words(p, facts).startswith('7 (90%), ')
    assert in_words(p, facts, (3, 8)) == '3 (50%), 8 (50%)'
    assert in_words(tensor([0.3, 0.3, 0.4]), facts) == '8 (40%), 3 (30%), 7 (30%) – in doubt: is it one digit?'
    assert 'in doubt' not in in_words(tensor([0.5, 0.3, 0.2]), facts)
