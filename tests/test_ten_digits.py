"Softmax, its logarithm and cross-entropy: against PyTorch, finite differences, and what they are not made for."
import pytest, torch, torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import tensor

from mnist_from_scratch import ten_digits
from mnist_from_scratch.sgd import numerical_gradient
from mnist_from_scratch.ten_digits import cross_entropy, log_softmax, softmax
from mnist_from_scratch.tensors import check


def votes(*shape, seed=0, size=1.):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))*size


@pytest.mark.parametrize('z', [votes(5, 7, size=50), torch.zeros(2, 3, 4), tensor([[1e4, -1e4]]), votes(3)])
def test_softmax_agrees_with_pytorch(z):
    check(softmax(z), z.softmax(-1))
    check(log_softmax(z), z.log_softmax(-1))
    check(softmax(z).sum(-1), torch.ones(z.shape[:-1]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=12), st.floats(-1e3, 1e3, width=32))
def test_only_differences_count(zs, shift):
    z = tensor(zs, dtype=torch.float64)
    check(softmax(z + shift), softmax(z), tol=1e-6)
    assert log_softmax(z).isfinite().all()


def test_cross_entropy_and_its_slope():
    v = votes(6, 4, seed=1).double().requires_grad_()
    t = tensor([0, 1, 2, 3, 0, 2])
    cross_entropy(v, t).backward()
    check(v.grad, numerical_gradient(lambda v: cross_entropy(v, t), v))
    check(v.grad, (softmax(v) - F.one_hot(t, 4))/6)
    check(cross_entropy(v, t).detach(), F.cross_entropy(v, t).detach())


def test_two_votes_are_a_sigmoid():
    v = votes(5, seed=2).requires_grad_()
    cross_entropy(torch.stack([torch.zeros(5), v], 1), tensor([0, 1, 1, 0, 1])).backward()
    check(v.grad, (v.detach().sigmoid() - tensor([0., 1, 1, 0, 1]))/5)


def test_an_impossible_class_that_is_not_asked_for():
    never = tensor([[0., -torch.inf]])
    for f in (cross_entropy, F.cross_entropy): assert f(never, tensor([0])) == 0


@pytest.mark.parametrize('preds, targs', [
    (torch.zeros(4, 10), torch.zeros(4, 1, dtype=torch.int64)), (torch.zeros(4, 10), torch.zeros(3, dtype=torch.int64)),
    (torch.zeros(3), tensor(1))])
def test_shapes_that_would_be_looked_up_silently(preds, targs):
    with pytest.raises(ValueError, match='expected'): cross_entropy(preds, targs)


@pytest.mark.parametrize('kind', [torch.float32, torch.uint8, torch.bool])
def test_targets_of_another_type_are_refused_by_pytorch(kind):
    with pytest.raises((RuntimeError, IndexError)): cross_entropy(torch.zeros(4, 10), tensor([0, 1, 1, 0]).to(kind))


@pytest.mark.parametrize('name, place', [
    ('conv_net', 'convolutions'), ('Normalize', 'mlp'), ('digits_learner', 'recipe'), ('fit_ten_digits', 'recipe'),
    ('ShiftBatch', 'recipe'), ('DigitReader', 'own_digits'), ('read_digits', 'own_digits'), ('show_mistakes', 'own_digits')])
def test_what_moved_says_where(name, place):
    with pytest.raises(ImportError, match=f'from mnist_from_scratch.{place} import'): getattr(ten_digits, name)


def test_what_never_was_there():
    with pytest.raises(AttributeError): ten_digits.abacus
