"""Engines of matrix products: the same results from each, measured once, reproducible if one is pinned."""

import time

import pytest
import torch

import pushforward as pf
from pushforward.fused import pool, products
from pushforward.testing import randomize


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """Nothing measured yet, and no memory whose engines were chosen before."""
    monkeypatch.setattr(products, "_CHOSEN", {})
    pool.POOL.clear()
    yield
    pool.POOL.clear()


def results(monkeypatch, engine, rows=512):
    """Log-densities, gradients and inverses of a flow whose products count as large."""
    if engine is not None:
        monkeypatch.setenv("PUSHFORWARD_PRODUCTS", engine)
    pool.POOL.clear()
    torch.manual_seed(0)
    flow = randomize(pf.maf(9, layers=2, hidden=(160, 160)), scale=0.3)
    x = torch.randn(rows, 9, requires_grad=True)
    log_prob = flow.log_prob(x)
    grads = torch.autograd.grad(log_prob.mean(), [x, *flow.parameters()])
    with torch.no_grad():
        return [flow.log_prob(x), flow.transform.inverse(x)[0], log_prob.detach(), *grads]


def test_both_engines_give_the_formulas(monkeypatch):
    with pf.plain():
        plain = results(monkeypatch, None)
    for engine in ("blas", "onednn"):
        for found, expected in zip(results(monkeypatch, engine), plain, strict=True):
            torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_a_pinned_engine_is_not_measured_and_gives_the_same_bits_again(monkeypatch):
    first, again = (results(monkeypatch, "onednn") for _ in range(2))
    assert all(map(torch.equal, first, again))
    assert pf.product_engines() == {}


def test_products_are_measured_once(monkeypatch):
    measured = []
    times = products.least_times
    monkeypatch.setattr(products, "least_times", lambda calls, n: measured.append(len(calls)) or times(calls, n))
    results(monkeypatch, None)
    found, count = pf.product_engines(), len(measured)
    assert 1 <= count == len(found)
    results(monkeypatch, None)
    assert len(measured) == count


@pytest.mark.parametrize("faster", ["blas", "onednn"])
def test_the_faster_one_is_taken(faster, monkeypatch):
    monkeypatch.setattr(products, "least_times", lambda calls, _: [1.0] * 3 + [2.0 if faster == "blas" else 0.5] * 3)
    assert products.engine(1 << 23, torch.zeros(2)).name == faster
    assert products.engine(1 << 10, torch.zeros(2)) is products.BLAS
    assert products.engine(1 << 23, torch.zeros(2).double()) is products.BLAS


def test_an_unknown_engine_is_refused(monkeypatch):
    monkeypatch.setenv("PUSHFORWARD_PRODUCTS", "abacus")
    with pytest.raises(ValueError, match="PUSHFORWARD_PRODUCTS"):
        products.engine(1 << 23, torch.zeros(2))


@pytest.mark.parametrize("transposed", [False, True])
def test_parts_of_matrices_take_onednn_no_longer_than_copies(transposed):
    """Its own code for matrices with gaps takes several hundred times as long."""
    whole = torch.randn(256, 256)
    part = whole[:, :200].t() if transposed else whole[:, :200]
    other = torch.randn(256, len(part))

    def least(b):
        times = []
        for _ in range(5):
            start = time.thread_time()
            found = products.ONEDNN.mm(other, b, out=torch.empty(256, b.shape[1]))
            times.append(time.thread_time() - start)
        return min(times), found

    gaps, found = least(part)
    packed, expected = least(part.contiguous())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert gaps < 30 * packed
