"""The ladder: its rungs' contract, its table and picture, and the digits that it prints."""
import math
from importlib.util import find_spec

import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt, pandas as pd, pytest, torch

from mnist_from_scratch.data import EMBEDDED, load_mnist
from mnist_from_scratch.ladder import RESNET, RUNGS, Rung, climb, plot_ladder, text_image
from mnist_from_scratch.pixel_similarity import PixelSimilarity, accuracy, l1_distance, l2_distance

COLUMNS = ['model', 'parameters', 'epochs', 'accuracy', 'per digit', 'seconds', 'data']


@pytest.fixture(scope='module')
def threes(): return load_mnist((3, 7))

@pytest.fixture(scope='module')
def few(threes): return threes._replace(train=tuple(o[:200] for o in threes.train), valid=tuple(o[:90] for o in threes.valid))


def floats(x): return x.float()/255

def climbed(digits, rungs=RUNGS[:5], **kwargs):
    data = load_mnist(digits)
    return data, climb(data, device='cpu', rungs=rungs, **kwargs)[0]


def test_the_rungs_are_those_that_the_readme_and_other_pages_name():
    assert [(o.name, o.epochs) for o in RUNGS] == [
        ('pixel similarity, L1', 0), ('pixel similarity, L2', 0), ('linear', 20), ('MLP', 20), ('MLP, one cycle', 8),
        ('convolutional network', 4)]
    assert (RESNET.name, RESNET.epochs) == ("fastai's resnet18", 1)


@pytest.mark.parametrize('rung', RUNGS, ids=lambda o: o.name)
@pytest.mark.parametrize('digits', [(3, 7), (1, 4, 8)])
def test_each_rung_keeps_the_contract(rung, digits):
    "Scores `(m,k)` of the sorted labels, finite, for images one by one and together; the images are left alone."
    (x,y),(vx,vy),*_ = load_mnist(digits, path='embedded')
    x,y,vx = floats(x[:240]),y[:240],floats(vx[:50])
    before = x.clone()
    scores,n_params = rung.fit(x, y, min(rung.epochs, 2), 42)
    with torch.no_grad(): s,one = scores(vx),scores(vx[:1])
    assert s.shape == (50, len(digits)) and s.is_floating_point() and s.isfinite().all()
    assert torch.allclose(s[:1], one, atol=2e-2)         # in evaluation mode: an image does not depend on the others
    assert isinstance(n_params, int) and n_params >= 784
    assert torch.equal(x, before)


@pytest.mark.parametrize('rung', RUNGS, ids=lambda o: o.name)
def test_the_seed_decides(rung):
    (x,y),(vx,_),*_ = load_mnist((3, 7), path='embedded')
    x,y,vx = floats(x[:120]),y[:120],floats(vx[:20])
    a,b = (rung.fit(x, y, min(rung.epochs, 1), 7)[0] for _ in range(2))
    with torch.no_grad(): assert torch.equal(a(vx), b(vx))


@pytest.mark.parametrize('at,distance', [(0, l1_distance), (1, l2_distance)])
def test_pixel_similarity_as_a_rung_answers_as_the_model_of_chapter_01(threes, at, distance):
    x,y = threes.train
    vx = floats(threes.valid[0])
    scores,n_params = RUNGS[at].fit(floats(x), y, 0, 42)
    model = PixelSimilarity(distance).fit(floats(x), y)
    assert torch.equal(model.digits[scores(vx).argmax(-1)], model.predict(vx))
    assert n_params == 2*28*28


def test_the_table_has_its_columns_and_the_answers_are_the_last_rungs(few):
    table,preds = climb(few, epochs=1, device='cpu')
    assert list(table) == COLUMNS + ['on 3', 'on 7'] and list(table['model']) == [o.name for o in RUNGS]
    assert table['epochs'].tolist() == [0, 0, 1, 1, 1, 1] and (table['seconds'] > 0).all()
    assert table['data'].unique().tolist() == [few.source]
    y = few.valid[1]
    assert accuracy(preds, y) == table['accuracy'].iloc[-1]
    on = [accuracy(preds[y == d], y[y == d]) for d in (3, 7)]
    assert table[['on 3', 'on 7']].iloc[-1].tolist() == on and math.isclose(table['per digit'].iloc[-1], sum(on)/2)


def test_each_rung_has_its_own_number_of_epochs_unless_told(few):
    seen = []
    def fit(x, y, epochs, seed):
        seen.append((epochs, seed, x.dtype, x.min().item() >= 0 and x.max().item() <= 1))
        return lambda x: torch.zeros(len(x), 2), 5
    rungs = [Rung('a', fit, epochs=3), Rung('b', fit)]
    climb(few, rungs=rungs, device='cpu')
    climb(few, epochs=9, seed=1, rungs=rungs, device='cpu')
    assert seen == [(3, 42, torch.float32, True), (0, 42, torch.float32, True), (9, 1, torch.float32, True), (0, 1, torch.float32, True)]


def test_many_held_out_digits_are_read_in_parts(few):
    sizes = []
    def scores(x): sizes.append(len(x)); return x.flatten(1)[:, :2]
    many = few._replace(valid=tuple(torch.cat([o]*30) for o in few.valid))
    climb(many, rungs=[Rung('a', lambda *_: (scores, 1))], device='cpu')
    assert sizes == [1000, 1000, 700]


def test_a_rung_that_diverged_is_named(few):
    with pytest.raises(ValueError, match='wild: scores are NaN'):
        climb(few, rungs=[Rung('wild', lambda *_: (lambda x: torch.full((len(x), 2), math.nan), 1))], device='cpu')


def test_nothing_is_printed_where_there_is_no_terminal(few, capsys, monkeypatch):
    rungs = [Rung('a', lambda *_: (lambda x: torch.zeros(len(x), 2), 1))]
    climb(few, rungs=rungs, device='cpu')
    assert capsys.readouterr().out == ''
    monkeypatch.setattr('sys.stdout', None)
    climb(few, rungs=rungs, device='cpu')


def test_two_other_digits_and_all_ten():
    "The bounds of the table on MNIST, and weaker ones on the digits that come with scikit-learn."
    for digits,column,expected in (((2, 4), 'per digit', [0.9404, 0.9688]), (None, 'accuracy', [0.6685, 0.8203])):
        data,table = climbed(digits)
        found = table[column].tolist()
        if data.source == 'MNIST':
            assert all(abs(a - b) < 6e-5 for a,b in zip(found, expected))
            assert found[2] > (0.98 if digits else 0.9) and min(found[3:]) > (0.985 if digits else 0.94)
        if data.source == EMBEDDED: assert min(found) > 0.75


@pytest.mark.skipif(not find_spec('fastai'), reason='needs fastai')
def test_the_resnet_of_fastai_runs_on_forty_digits():
    x,y = load_mnist((3, 7), path='embedded').train
    scores,n_params = RESNET.fit(floats(x[:40]), y[:40], 1, 42)
    with torch.no_grad(): s = scores(floats(x[:40]))
    assert s.shape == (40, 2) and s.isfinite().all() and n_params == 11_704_896


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_graphics_card_gives_the_same(threes):
    cpu,gpu = (climb(threes, device=o)[0]['accuracy'] for o in ('cpu', 'cuda'))
    assert (cpu - gpu).abs().max() < 3e-3


def drawn(preds, data, table=None):
    if table is None: table = pd.DataFrame([dict(model='a', seconds=0.1, accuracy=0.9), dict(model='b', seconds=9., accuracy=1.)])
    fig = plot_ladder(table, data, preds)
    titles = [(ax.get_title(), ax.title.get_color()) for ax in fig.axes[1:]]
    plt.close(fig)
    return fig, titles


def test_the_picture_shows_the_answers_with_wrong_ones_in_red_and_last(few):
    y = few.valid[1]
    preds = y.clone()
    preds[[4, 8]] = 10 - y[[4, 8]]
    fig,titles = drawn(preds, few)
    assert [t for t,_ in titles[-2:]] == [f'{10 - y[i]} ({y[i]})' for i in (4, 8)]
    assert [c for _,c in titles] == [titles[0][1]]*18 + ['#b30000']*2
    assert {t.get_text() for t in fig.axes[0].texts} == {'a', 'b'} and few.source in fig.axes[0].get_title()


@pytest.mark.parametrize('wrong', [0, 7, 90])
def test_the_picture_with_no_wrong_answers_many_or_only_wrong_ones(few, wrong):
    preds = few.valid[1].clone()
    preds[:wrong] = 10 - preds[:wrong]
    _,titles = drawn(preds, few)
    assert sum('(' in t for t,_ in titles) == min(wrong, 5)
    assert sum(t != '' for t,_ in titles) == (20 if wrong < 90 else 5)


def test_the_picture_with_fewer_digits_than_places(few):
    data = few._replace(valid=tuple(o[:3] for o in few.valid))
    assert [t for t,_ in drawn(data.valid[1], data)[1]][3:] == ['']*17


def test_digits_in_the_terminal():
    assert text_image(torch.tensor([[0, 255, 0, 255], [0, 0, 255, 255]], dtype=torch.uint8)) == ' ▀▄█'
    assert text_image(torch.zeros(4, 3, dtype=torch.uint8)) == '   \n   '
