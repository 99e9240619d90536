"""Couplings that follow each other are one function, except where somebody has to see them one by one."""

import copy
import pickle

import pytest
import torch

import pushforward as pf
from pushforward.nets.mlp import MLP
from pushforward.testing import randomize
from pushforward.transforms import Affine, Alternate, Compose, Coupling, Half, Permutation, Spline
from pushforward.transforms.base import _joined

FEATURES = 5


def coupling(split, scalar=None):
    scalar = Affine() if scalar is None else scalar
    return Coupling(split, MLP(split.kept, split.moved, scalar.num_params, hidden=(8,)), scalar)


def flow():
    torch.manual_seed(0)
    return randomize(pf.realnvp(FEATURES, layers=4, hidden=(8,)).double())


def rows(n=6):
    return torch.randn(n, FEATURES, dtype=torch.float64)


def counted(monkeypatch):
    """How many couplings every call of the function gets."""
    from pushforward.transforms import coupling as module

    seen, function = [], module.affine_chain

    def watched(x, chain, params):
        seen.append(len(chain.links))
        return function(x, chain, params)

    monkeypatch.setattr(module, "affine_chain", watched)
    return seen


@pytest.mark.parametrize("grad", [False, True])
def test_a_whole_realnvp_is_one_function(monkeypatch, grad):
    transform, x = flow().transform, rows()
    with torch.set_grad_enabled(grad):
        expected, total = x, 0
        for each in transform.transforms:
            expected, logdet = each(expected)
            total = total + logdet
        seen = counted(monkeypatch)
        z, logdet = transform(x)
        torch.testing.assert_close((z, logdet), (expected, total))
        back, minus = transform.inverse(z)
        torch.testing.assert_close((back, minus), (x, -logdet))
        torch.testing.assert_close(transform.generate(z), x)
    assert seen == [4, 4, 4]


def test_what_is_joined():
    a, b, c = coupling(Half(FEATURES)), coupling(Half(FEATURES, swap=True)), coupling(Half(FEATURES))
    other, spline, between = (
        coupling(Alternate(FEATURES)),
        coupling(Half(FEATURES), Spline()),
        Permutation(range(FEATURES)),
    )

    def sizes(*transforms):
        return [len(getattr(each, "couplings", [each])) for each in _joined(transforms)]

    assert sizes(a, b, c) == [3]
    assert sizes(a, a) == [2]
    assert sizes(a, b, between, c) == [2, 1, 1]
    assert sizes(a, other, coupling(Alternate(FEATURES, swap=True))) == [1, 2]
    assert sizes(spline, spline, a, spline) == [1, 1, 1, 1]


def test_hooks_of_a_coupling_are_called():
    model, x = flow(), rows()
    alone, seen = model.log_prob(x), []
    handle = model.transform.transforms[2].register_forward_hook(lambda module, args, out: seen.append(out[0]))
    torch.testing.assert_close(model.log_prob(x), alone)
    assert len(seen) == 1
    handle.remove()
    model.log_prob(x)
    assert len(seen) == 1


def test_a_coupling_that_was_compiled_by_itself_is_called(monkeypatch):
    torch.compiler.reset()
    model, x = flow(), rows()
    model.transform.transforms[1].compile(backend="eager")
    seen = counted(monkeypatch)
    with torch.no_grad():
        model.transform(x)
    assert seen == [1, 1, 1]  # the other three


def test_another_coupling_in_the_place_of_one_counts():
    model, x = flow(), rows()
    before = model.log_prob(x)
    model.transform.transforms[1] = randomize(coupling(Half(FEATURES, swap=True)).double())
    after = model.log_prob(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(Compose(list(model.transform.transforms))(x), model.transform(x))


def test_copies_have_couplings_of_their_own():
    model, x = flow(), rows()
    before = model.log_prob(x)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert not torch.allclose(model.log_prob(x), before)
    for each in copies:
        torch.testing.assert_close(each.log_prob(x), before)
