"""No change makes a family dearer unnoticed: FLOPs, operators, moved and kept bytes.

They are compared with benchmarks/operation_counts.json.

If a change is meant to cost more, or makes something cheaper: ``python benchmarks/operation_counts.py --write``.
"""

import operation_counts
import pytest
import torch
from measure.operations import cost
from torch import nn

import pushforward as pf
from pushforward.transforms import seam

if seam.imported() is None or seam.SHUT.get():
    pytest.skip("the fast room is shut or was deleted", allow_module_level=True)
from pushforward.fused.rows import MaskedRows


@pytest.mark.parametrize("family", operation_counts.SIZES)
def test_no_family_became_dearer(family):
    assert operation_counts.regressions(family) == []


def test_sampling_by_one_whole_pass_for_every_feature_is_caught(monkeypatch):
    monkeypatch.setattr(MaskedRows, "generate", lambda self, z, context=None: self.transform.generate(z, context))
    found = operation_counts.regressions("maf")
    assert any("maf sample" in line and "flops" in line for line in found)
    assert not any("density" in line for line in found)


def test_a_training_step_that_keeps_every_intermediate_is_caught():
    with pf.plain():
        found = operation_counts.regressions("nsf-coupling")
    assert any("nsf-coupling train" in line and "saved_bytes" in line for line in found)


def test_a_training_step_in_small_pieces_is_caught():
    with pf.plain():
        found = operation_counts.regressions("realnvp")
    assert any("realnvp train" in line and "operators" in line for line in found)
    assert any("realnvp train" in line and "moved_bytes" in line for line in found)


def test_products_of_hand_written_functions_are_counted():
    x, weight, grown = torch.randn(8, 3), torch.randn(3, 5), torch.zeros(8, 5)

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            ctx.save_for_backward(weight)
            out = torch.mm(x, weight, out=torch.empty(8, 5))
            return out + grown.addmm_(x, weight)

        @staticmethod
        def backward(ctx, grad):
            return torch.mm(x.t(), grad, out=torch.empty(3, 5))

    module = nn.ParameterList([nn.Parameter(weight)])
    found = cost(lambda: Twice.apply(module[0] * 1).sum().backward(), module)
    assert found.flops == 3 * (2 * 8 * 3 * 5)
    # the multiplication and its gradient, three products, the sum and its gradient, two additions
    assert found.moved_bytes > 4 * (2 * 15 + 3 * (8 * 3 + 3 * 5 + 8 * 5))
    assert found.saved_bytes == weight.nbytes
