"""Block-triangular weights: patterns, products and gradients against the dense matrix."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from pushforward.numerics import products
from pushforward.numerics.masked_linear import (
    add_rectified,
    by_step,
    dense,
    full,
    grad_input,
    grad_weight,
    layer,
    linear,
    mask,
    matrices,
    staircase,
)

ROWS = [0, 0, 1, 1, 1, 2, 4, 4, 5, 5]
COLUMNS = [0, 1, 1, 2, 3, 3, 5]


@pytest.mark.parametrize("least_rows", [1, 3, 100])
def test_pattern_is_the_mask(least_rows):
    stairs = staircase(ROWS, COLUMNS, least_rows)
    got = dense(stairs, mask(stairs, ROWS, COLUMNS))
    expected = torch.tensor(ROWS)[:, None] >= torch.tensor(COLUMNS)[None, :]
    torch.testing.assert_close(got, expected.float())


def test_equal_masks_are_one_tensor_as_long_as_somebody_has_it():
    stairs = staircase(ROWS, COLUMNS)
    first = mask(stairs, ROWS, COLUMNS)
    with torch.inference_mode():
        assert mask(stairs, ROWS, COLUMNS) is first
    assert mask(stairs, ROWS, [0] * len(COLUMNS)) is not first
    with torch.device("meta"):
        assert mask(stairs, ROWS, COLUMNS).is_meta
    with FakeTensorMode():
        assert isinstance(mask(stairs, ROWS, COLUMNS), FakeTensor)
    assert mask(stairs, ROWS, COLUMNS) is first


def test_a_mask_made_in_inference_mode_serves_outside():
    stairs = staircase(ROWS, COLUMNS, least_rows=1)
    with torch.inference_mode():
        made = mask(stairs, ROWS, COLUMNS)
    assert not made.is_inference()


def test_fewer_entries_than_the_matrix():
    degrees = [i // 12 for i in range(516)]
    assert staircase(degrees, degrees, least_rows=96).size < 0.65 * 516 * 516
    assert staircase(degrees, degrees).size < 0.7 * 516 * 516  # fewer and larger steps multiply faster


@pytest.mark.parametrize("least_rows", [1, 3, 100])
@pytest.mark.parametrize("per_row_bias", [False, True])
def test_products_and_gradients(least_rows, per_row_bias):
    torch.manual_seed(0)
    stairs = staircase(ROWS, COLUMNS, least_rows)
    weight = torch.randn(stairs.size, dtype=torch.float64) * mask(stairs, ROWS, COLUMNS)
    x = torch.randn(len(COLUMNS), 6, dtype=torch.float64)
    bias = torch.randn(len(ROWS), *([6] if per_row_bias else []), dtype=torch.float64)
    matrix = dense(stairs, weight)
    expected = matrix @ x + (bias if per_row_bias else bias[:, None])
    torch.testing.assert_close(linear(stairs, weight, bias, x), expected)
    grad = torch.randn_like(expected)
    turned = [block.t() for block in matrices(stairs, weight)]
    got = grad_input(stairs, turned, by_step(stairs, grad), torch.empty_like(x))
    torch.testing.assert_close(got, matrix.T @ grad)
    torch.testing.assert_close(
        dense(stairs, grad_weight(stairs, grad, x, torch.empty_like(weight)) * mask(stairs, ROWS, COLUMNS)),
        (grad @ x.T) * dense(stairs, mask(stairs, ROWS, COLUMNS)),
    )


@pytest.mark.parametrize("least", [products._NEVER, 200, 1], ids=["all in place", "some", "none"])
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("per_row_bias", [False, True])
def test_layers_whoever_multiplies(least, rectified, per_row_bias, monkeypatch):
    if least != products._NEVER and not products._HAS_ONEDNN:
        pytest.skip("this PyTorch was built without oneDNN")
    monkeypatch.setattr(products, "_WORTH", products.Worth(new=least))
    torch.manual_seed(0)
    stairs = staircase(ROWS, COLUMNS, 1, least_saved=1)
    assert len(stairs.steps) > 2
    weight = torch.randn(stairs.size) * mask(stairs, ROWS, COLUMNS)
    x, bias = torch.randn(len(COLUMNS), 20), torch.randn(len(ROWS), *([20] if per_row_bias else []))
    reads, out = [x[: step.columns] for step in stairs.steps], torch.empty(len(ROWS), 20)
    anew = [products.goes_anew(height, read) for height, read in zip(stairs.heights, reads, strict=True)]
    assert (True in anew, False in anew) == {products._NEVER: (False, True), 200: (True, True), 1: (True, False)}[least]
    layer(stairs, matrices(stairs, weight), reads, by_step(stairs, out), out, bias, rectified, anew)
    expected = dense(stairs, weight) @ x + (bias if per_row_bias else bias[:, None])
    torch.testing.assert_close(out, expected.relu() if rectified else expected)


def test_a_matrix_passes_whole():
    x, matrix, bias = torch.randn(3, 5), torch.randn(4, 3), torch.randn(4)
    torch.testing.assert_close(linear(full(4, 3), matrix, bias, x), matrix @ x + bias[:, None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rectifying_in_one_pass(dtype):
    h, bias = torch.randn(40, 300).to(dtype), torch.randn(40).to(dtype)
    h[3, 4] = torch.nan
    expected = (h + bias[:, None]).relu()
    torch.testing.assert_close(add_rectified(h, bias[:, None], out=torch.empty_like(h)), expected, equal_nan=True)
    torch.testing.assert_close(add_rectified(h, bias[:, None], out=h), expected, equal_nan=True)
