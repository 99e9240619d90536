"""Products by either library: the same values, gradients and second derivatives, and NaN stays where it is."""

import pytest
import torch

from pushforward.numerics import products
from pushforward.numerics.products import (
    add_product,
    differentiable_product,
    goes_anew,
    new_product,
    product,
    summed_product,
)


@pytest.fixture(params=["oneDNN", "BLAS"])
def by(request, monkeypatch):
    if request.param == "oneDNN" and not products._HAS_ONEDNN:
        pytest.skip("this PyTorch was built without oneDNN")
    worth = products.Worth(new=1, summed=1, placed=1) if request.param == "oneDNN" else products.Worth()
    monkeypatch.setattr(products, "_WORTH", worth)


def placed(a, b):
    return product(a, b, torch.empty(len(a), b.shape[1]))


@pytest.mark.parametrize("transposed", [False, True])
def test_values(by, transposed):
    torch.manual_seed(0)
    a, b = torch.randn(30, 50), torch.randn(50, 20)
    if transposed:
        a, b = a.t().contiguous().t(), b.t().contiguous().t()
    exact = a.double() @ b.double()
    torch.testing.assert_close(placed(a, b).double(), exact, rtol=0, atol=2e-5)
    out = torch.empty(30, 40)[:, 5:25]
    assert product(a, b, out=out) is out
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-5)
    torch.testing.assert_close(add_product(out, a, b).double(), 2 * exact, rtol=0, atol=4e-5)


def test_products_in_new_memory_and_sums(by):
    torch.manual_seed(0)
    a, b = torch.randn(30, 50), torch.randn(50, 20)
    exact = a.double() @ b.double()
    torch.testing.assert_close(summed_product(a, b, torch.empty(30, 20)).double(), exact, rtol=0, atol=2e-5)
    assert goes_anew(30, b) == (products.Worth() != products._WORTH)
    assert not goes_anew(30, b.double())
    if products._HAS_ONEDNN:
        torch.testing.assert_close(new_product(a, b).double(), exact, rtol=0, atol=2e-5)


def test_part_of_a_larger_matrix(by):
    torch.manual_seed(0)
    a, b = torch.randn(40, 70), torch.randn(60, 35)
    torch.testing.assert_close(placed(a[5:, :50], b[:50, 3:]), a[5:, :50] @ b[:50, 3:], rtol=0, atol=2e-5)


def test_gradients(by):
    torch.manual_seed(0)
    a, b = torch.randn(6, 5, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = differentiable_product(a, b).square().sum()
    got = torch.autograd.grad(loss, (a, b), create_graph=True)
    expected = torch.autograd.grad((a @ b).square().sum(), (a, b), create_graph=True)
    torch.testing.assert_close(got, expected)
    second = [torch.autograd.grad(sum(g.square().sum() for g in grads), (a, b)) for grads in (got, expected)]
    torch.testing.assert_close(*second, rtol=1e-5, atol=1e-4)  # float32 sums of squares of tens


def test_nan_and_infinity_stay_in_their_column(by):
    a, b = torch.randn(30, 50), torch.randn(50, 20)
    b[7, 3], b[1, 4] = torch.nan, torch.inf
    bad = ~placed(a, b).isfinite()
    assert bad[:, 3:5].all()
    assert not bad[:, :3].any()
    assert not bad[:, 5:].any()


def test_torch_func(by):
    a, b = torch.randn(6, 5), torch.randn(3, 5, 4)
    torch.testing.assert_close(torch.func.vmap(lambda m: differentiable_product(a, m))(b), a @ b)


@pytest.mark.parametrize(
    ("maker", "family", "expected"),
    [("GenuineIntel", 6, "nowhere"), ("AuthenticAMD", 25, "zen 4"), ("AuthenticAMD", 26, "zen 5"), ("", 0, "nowhere")],
)
def test_the_library_depends_on_the_processor(maker, family, expected, tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {maker}\ncpu family\t: {family}\nmodel\t\t: 17\n")
    monkeypatch.setattr(products, "Path", lambda path: cpuinfo if path == "/proc/cpuinfo" else None)
    worth = {"nowhere": products.Worth(), "zen 4": products._ZEN_4, "zen 5": products._ZEN_5}
    assert products._worth() == worth[expected]
    cpuinfo.unlink()
    assert products._worth() == products.Worth()


def test_products_of_blocks():
    torch.manual_seed(0)
    a, b, grad = torch.randn(4, 5), torch.randn(5, 6), torch.randn(4, 6)
    cut = [each.view(-1, 3, 2).transpose(0, 1).contiguous() for each in (b, grad)]
    whole = product(a, cut[0], out=torch.empty(3, 4, 2))
    torch.testing.assert_close(whole.transpose(0, 1).reshape(4, 6), a @ b)
    add_product(whole, a, cut[0])
    torch.testing.assert_close(whole.transpose(0, 1).reshape(4, 6), 2 * (a @ b))
    torch.testing.assert_close(summed_product(cut[1], cut[0].mT, out=torch.empty(4, 5)), grad @ b.t())
    assert not goes_anew(len(a), cut[0])


@pytest.mark.parametrize(
    ("worth", "rows", "n", "dtype", "expected"),
    [
        (products._ZEN_4, 128, 512, torch.float32, 4),
        (products._ZEN_4, 128, 510, torch.float32, 1),
        (products._ZEN_4, 128, 64, torch.float32, 1),
        (products._ZEN_4, 128, 65_536, torch.float32, 1),
        (products._ZEN_4, 128, 512, torch.float64, 1),
        (products._ZEN_5, 128, 512, torch.float32, 1),
        (products.Worth(), 128, 512, torch.float32, 1),
    ],
)
def test_columns_are_cut_where_blas_multiplies_for_several_threads(worth, rows, n, dtype, expected, monkeypatch):
    monkeypatch.setattr(products, "_WORTH", worth)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert products.blocks(torch.empty(0, dtype=dtype), rows * rows * n, n) == expected


def test_many_columns_have_a_bound_of_their_own(monkeypatch):
    monkeypatch.setattr(products, "_WORTH", products.Worth(wide=1 << 10))
    b = torch.randn(4, 512)
    assert goes_anew(3, b)
    assert not goes_anew(3, b[:, :511])
    monkeypatch.setattr(products, "_WORTH", products.Worth(wide=1 << 13))
    assert not goes_anew(3, b)
