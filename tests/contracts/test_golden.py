"""Models that versions 0.1 and 0.2 saved still load, and give the log-densities that they gave then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = sorted(
    str(path.relative_to(GOLDEN).with_suffix(""))
    for pattern in ("*.npz", "0.2/flows/*.npz")
    for path in GOLDEN.glob(pattern)
)


def moved(name: str, flow) -> float:
    """By how much log-densities differ from those given then, relative to the largest."""
    data = np.load(GOLDEN / f"{name}.npz")
    context = torch.from_numpy(data["context"]) if "context" in data else None
    with torch.no_grad():
        found = flow.log_prob(torch.from_numpy(data["x"]), context).numpy()
    return np.abs(found - data["log_prob"]).max() / max(1.0, np.abs(data["log_prob"]).max())


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_an_older_version_loads_scores_as_before_and_can_be_saved_again(name, tmp_path):
    flow = pf.load(GOLDEN / name)
    assert moved(name, flow) < 1e-4
    pf.save(flow, tmp_path / "model")
    again = pf.load(tmp_path / "model")
    assert moved(name, again) < 1e-4
    assert again.state_dict().keys() == flow.state_dict().keys()


def test_splines_of_older_versions_keep_their_floor_also_when_saved_again(tmp_path):
    flow = pf.load(GOLDEN / "nsf")
    assert {part.floor for part in flow.modules() if isinstance(part, pf.transforms.Spline)} == {0.01}
    pf.save(flow, tmp_path / "model")
    again = pf.load(tmp_path / "model")
    assert {part.floor for part in again.modules() if isinstance(part, pf.transforms.Spline)} == {0.01}
    assert {part.floor for part in pf.nsf(2).modules() if isinstance(part, pf.transforms.Spline)} == {0.15}


def test_a_table_of_version_0_1_scores_as_before(tmp_path):
    scores = tmp_path / "scores.csv"
    command = ["score", str(GOLDEN / "table"), str(GOLDEN / "table.csv"), "-o", str(scores)]
    slow = {"torch._dynamo", "sympy", "matplotlib"}  # to import these takes longer than to answer
    code = f"""
import sys, torch.utils.checkpoint  # of PyTorch 2.6, which imports sympy itself
slow = {slow} - sys.modules.keys()
import pushforward as pf
from pushforward.cli.app import main
[pf.load(f"{GOLDEN}/{{name}}") for name in ("glow", "nsf-linear", "mixture-of-parts", "pixelcnn")]
main({command})
assert not slow & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    found, expected = pl.read_csv(scores), pl.read_csv(GOLDEN / "table-scores.csv")
    assert np.abs(found["log_density"].to_numpy() - expected["log_density"].to_numpy()).max() < 1e-3
    model = pf.TableDensity.load(GOLDEN / "table")
    assert (model.score_samples(pl.read_csv(GOLDEN / "table.csv")) == found["log_density"].to_numpy()).all()
