"""Saved models: what comes back is the same model, and what is damaged is named in one sentence."""

from __future__ import annotations

import torch

import pushforward as pf
from pushforward.checkpoint import load_extra
from pushforward.transforms import Compose, Standardize
from pushforward.transforms.precision import Precision


def random_flow(recipe=pf.maf, features=3, **options):
    flow = recipe(features, **{"layers": 2, "hidden": (8,), **options})
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return flow


def test_a_loaded_model_has_the_same_density_bit_for_bit(tmp_path):
    for dtype in (torch.float32, torch.float64):
        flow = random_flow(context=2).to(dtype)
        x, context = torch.randn(5, 3, dtype=dtype), torch.randn(5, 2, dtype=dtype)
        pf.save(flow, tmp_path / "model", extra={"columns": ["a", "b", "c"]})
        loaded = pf.load(tmp_path / "model")
        assert torch.equal(loaded(x, context), flow(x, context))
        assert not loaded.training
        assert load_extra(tmp_path / "model") == {"columns": ["a", "b", "c"]}
        assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_tensors_of_another_precision_keep_it(tmp_path):
    scale = Standardize(torch.tensor([1e9, 0.0], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64))
    inner = random_flow(pf.realnvp, 2)
    flow = pf.Flow(Compose([scale, Precision(), inner.transform]), 2)
    x = torch.tensor([[1e9 + 0.25, 1.0]], dtype=torch.float64)
    pf.save(flow, tmp_path / "model")
    loaded = pf.load(tmp_path / "model")
    assert torch.equal(loaded(x), flow(x))
    assert loaded.transform.transforms[0].loc.dtype == torch.float64
    assert next(loaded.parameters()).dtype == torch.float32
