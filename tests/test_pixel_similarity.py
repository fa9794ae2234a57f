"What `pixel_similarity` must refuse, and two oracles: torch.nn.functional and scikit-learn."
import subprocess, sys, warnings
from functools import partial

import numpy as np, pytest, torch, torch.nn.functional as F
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.neighbors import NearestCentroid
from torch import tensor

from mnist_from_scratch.pixel_similarity import *
from mnist_from_scratch.tensors import check

g = torch.Generator().manual_seed(42)
ims = torch.rand(40, 28, 28, generator=g)
y = tensor([3, 7]*20)
mean = ims.mean(0)

def test_distances_are_those_of_pytorch_image_by_image():
    check(l1_distance(ims[:5], mean), torch.stack([F.l1_loss(im, mean) for im in ims[:5]]))
    check(l2_distance(ims[:5], mean), torch.stack([F.mse_loss(im, mean).sqrt() for im in ims[:5]]))
    check(l1_distance(ims[:5, None], ims[5:8]), (ims[:5, None] - ims[5:8]).abs().mean((2, 3)))

def test_bytes_do_not_wrap_around():
    two = tensor([[3]], dtype=torch.uint8),tensor([[5]], dtype=torch.uint8)
    for a,b in (two, two[::-1]):
        check(l1_distance(a, b), tensor(2.)); check(l2_distance(a, b), tensor(2.))
    check(l1_distance(ims.double(), mean.double()), l1_distance(ims, mean).double())       # doubles stay doubles

@pytest.mark.parametrize('bad', [ims.view(-1, 784), ims[0, 0], ims[:, :1], ims[:, :20], ims[:, :, :1]])
@pytest.mark.parametrize('distance', [l1_distance, l2_distance])
def test_images_of_other_sizes(bad, distance):
    for a,b in ((bad, mean), (mean, bad)):
        with pytest.raises(ValueError, match='images of'): distance(a, b)
    with pytest.raises(IndexError): distance(ims[0, 0], ims[0, 0])

def test_accuracy():
    assert accuracy(tensor([1, 2, 3, 4]), tensor([1, 2, 3, 0])) == 0.75
    assert accuracy([True, False], [True, True]) == 0.5
    for preds,targs in ((y[:0], y[:0]), (y[:1], y[:0]), (y[:1], y), (y[:, None], y), (y, y[:, None])):
        with pytest.raises(ValueError, match='expected'): accuracy(preds, targs)
    with pytest.raises((ValueError, TypeError)): accuracy(y[0], y[0])
    for preds,targs in ((torch.rand(3), y[:3]), (y[:3], torch.rand(3))):
        with pytest.raises(ValueError, match='whole numbers'): accuracy(preds, targs)

def test_confusion_matrix_is_that_of_scikit_learn():
    a,b = torch.randint(10, (2, 500), generator=g)
    check(confusion_matrix(a, b), tensor(sklearn_confusion(b, a)))
    a,b = tensor([3, 5, 7])[torch.randint(3, (2, 50), generator=g)]
    check(confusion_matrix(a, b), tensor(sklearn_confusion(b, a)))
    check(confusion_matrix(a, b, range(10)), tensor(sklearn_confusion(b, a, labels=range(10))))

def test_confusion_matrix_of_some_classes():
    check(confusion_matrix(tensor([3, 7, 7]), tensor([3, 3, 7])), tensor([[1, 1], [0, 1]]))
    check(confusion_matrix(tensor([7]), tensor([7]), (5, 7)), tensor([[0, 0], [0, 1]]))
    check(confusion_matrix(tensor([7, 3]), tensor([7, 7]), (7, 3)), tensor([[0, 0], [1, 1]]))
    check(confusion_matrix(tensor([7]), tensor([7]), tensor([5, 7])), tensor([[0, 0], [0, 1]]))
    check(confusion_matrix([True, False], [True, True]), tensor([[0, 0], [1, 1]]))
    with pytest.raises(KeyError, match='7'): confusion_matrix(tensor([3, 7]), tensor([3, 3]), (3, 5))
    with pytest.raises(ValueError, match='expected'): confusion_matrix(tensor([[3], [7]]), tensor([3, 3]))
    with pytest.raises(ValueError, match='whole numbers'): confusion_matrix(torch.rand(3), torch.rand(3))

def test_pixel_similarity():
    model = PixelSimilarity()
    assert model.fit(ims, y) is model
    check(model.templates, torch.stack([ims[::2].mean(0), ims[1::2].mean(0)]))
    check(model.predict(ims[0]), tensor(3))
    assert distances(ims[:3], model.templates).shape == (3, 2) and distances(ims[0], model.templates).shape == (2,)

def test_bytes_and_floats_may_be_mixed():
    as_bytes = (ims*255).to(torch.uint8)
    by_bytes,by_floats = PixelSimilarity().fit(as_bytes, y),PixelSimilarity().fit(as_bytes/255, y)
    check(by_bytes.templates, by_floats.templates)
    for model in (by_bytes, by_floats):
        for x in (as_bytes, as_bytes/255): check(model.predict(x), by_floats.predict(as_bytes/255))

def test_by_l2_it_is_the_nearest_centroid_of_scikit_learn():
    theirs = NearestCentroid().fit(ims[:30].flatten(1).numpy(), y[:30].numpy()).predict(ims.flatten(1).numpy())
    check(PixelSimilarity(l2_distance).fit(ims[:30], y[:30]).predict(ims), tensor(theirs))

def test_two_templates_are_a_line():
    high,low = ims[:20].mean(0),ims[20:].mean(0)
    w,b = template_line(high, low)
    assert w.shape == (784,) and b.shape == ()
    check(ims.flatten(1) @ w + b > 0, l2_distance(ims, high) < l2_distance(ims, low))
    check((ims.flatten(1) @ w + b)/784, l2_distance(ims, low)**2 - l2_distance(ims, high)**2, atol=1e-5)
    back = template_line(low, high)
    check(back[0], -w); check(back[1], -b)

def test_pixel_similarity_refuses():
    model = PixelSimilarity().fit(ims, y)
    with pytest.raises(AttributeError): PixelSimilarity().predict(ims)                       # PyTorch's and Python's own words
    for x_,y_ in ((ims, y[:-1]), (ims[:-1], y), (ims[:0], y[:0]), (ims, y[:, None])):
        with pytest.raises((IndexError, RuntimeError)): PixelSimilarity().fit(x_, y_)
    with pytest.raises(ValueError, match='images of'): model.predict(ims[:, :20])
    with pytest.raises(ValueError, match='NaN'): model.predict(ims*float('nan'))
    with warnings.catch_warnings(), pytest.raises(ValueError, match='expected'):             # one number for all: seen when counted
        warnings.simplefilter('ignore')
        accuracy(PixelSimilarity(F.l1_loss).fit(ims, y).predict(ims), y)

@pytest.mark.parametrize('distance', [l1_distance, l2_distance])
def test_its_rung(distance):
    scores,n_params = fit_similarity(ims, y, 0, 42, distance=distance)
    model = PixelSimilarity(distance).fit(ims, y)
    assert scores(ims[:9]).shape == (9, 2) and n_params == 2*28*28
    check(tensor([3, 7])[scores(ims).argmax(1)], model.predict(ims))
    check(partial(fit_similarity, distance=distance)(ims, y, 3, 1)[0](ims), scores(ims))

def test_imports_little():
    code = ('import sys, mnist_from_scratch.pixel_similarity; '
            "print([m for m in ('fastai', 'nbdev', 'IPython', 'sklearn', 'scipy', 'jupyter_core') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
