"""What Python callers get for bad input: one sentence that names the argument, and nothing else happens."""

import math

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.nets.made import MADE
from pushforward.saving.checkpoint import CheckpointError
from pushforward.transforms import Affine, Autoregressive, Half, Permutation, Spline

X = torch.randn(60, 3)


def train(flow, x, context=None, **options):
    pf.fit(flow, x, context, progress=False, **{"steps": 2, **options})


CASES = {
    "no features": (lambda: pf.maf(0), "features"),
    "negative context": (lambda: pf.nsf(3, context=-1), "context"),
    "negative context of couplings": (lambda: pf.realnvp(3, context=-1), "context"),
    "negative context of a field": (lambda: pf.ffjord(3, context=-1), "context"),
    "negative context of images": (lambda: pf.glow((1, 8, 8), context=-1), "context"),
    "no layers": (lambda: pf.realnvp(3, layers=0), "layers"),
    "narrow hidden layer": (lambda: pf.maf(100, hidden=(64,)), "too narrow"),
    "empty hidden layer": (lambda: pf.realnvp(3, hidden=(0,)), "hidden"),
    "one bin": (lambda: pf.nsf(3, bins=1), "bins"),
    "bound of nothing": (lambda: pf.nsf(3, bound=0.0), "bound"),
    "limit of nothing": (lambda: Affine(limit=0.0), "limit"),
    "order": (lambda: Permutation([0, 0, 2]), "order"),
    "inversion": (lambda: Autoregressive(MADE(3, 2, hidden=(8,)), Affine(), inversion="newton"), "inversion"),
    "net and map disagree": (lambda: Autoregressive(MADE(3, 2, hidden=(8,)), Spline(4)), "parameters"),
    "permutation": (lambda: Permutation([0, 2]), "order"),
    "permutation of a number": (lambda: Permutation(5), "order"),
    "split of nothing": (lambda: Half(0), "features"),
    "conditional": (lambda: pf.made(3, conditional="poisson"), "conditional"),
    "classes are missing": (lambda: pf.made(3, conditional="categorical"), "classes"),
    "class outside": (
        lambda: pf.made(2, conditional="categorical", classes=3).log_prob(torch.tensor([[0.0, 3.0]])),
        "3",
    ),
    "solver": (lambda: pf.ffjord(2, solver="rk45"), "solver"),
    "width of x": (lambda: pf.maf(3).log_prob(torch.randn(5, 4)), "3"),
    "double x": (lambda: pf.realnvp(3).log_prob(X.double()), "x has dtype=torch.float64.* torch.float32"),
    "double images": (lambda: pf.glow((1, 8, 8)).log_prob(torch.rand(2, 1, 8, 8).double()), "x has dtype"),
    "double context": (lambda: pf.nsf(3, context=2).log_prob(X, torch.rand(60, 2).double()), "context has dtype"),
    "x is elsewhere": (lambda: pf.nsf(3).log_prob(X.to("meta")), "x has device=meta"),
    "no rows at all": (lambda: train(pf.maf(3, hidden=(8,)), X[:0]), "row"),
    "NaN in training": (lambda: train(pf.maf(3, hidden=(8,)), X.where(X < 2, torch.nan) * math.nan), "finite|NaN"),
    "context is missing": (lambda: pf.maf(3, context=2).log_prob(X), "context"),
    "context is too much": (lambda: pf.maf(3).log_prob(X, torch.randn(60, 2)), "context"),
    "width of context": (lambda: pf.maf(3, context=2).log_prob(X, torch.randn(60, 5)), "context"),
    "rows of context": (lambda: train(pf.maf(3, context=2, hidden=(8,)), X, torch.randn(59, 2)), "context"),
    "negative steps": (lambda: train(pf.maf(3, hidden=(8,)), X, steps=-1), "steps"),
    "steps and epochs": (lambda: train(pf.maf(3, hidden=(8,)), X, epochs=1), "epochs"),
    "batch of nothing": (lambda: train(pf.maf(3, hidden=(8,)), X, batch_size=0), "batch_size"),
    "negative rate": (lambda: train(pf.maf(3, hidden=(8,)), X, lr=-1.0), "lr"),
    "everything held out": (lambda: train(pf.maf(3, hidden=(8,)), X, validation=1.5), "validation"),
    "unknown flow of an estimator": (lambda: pf.FlowDensity("glow").fit(X.numpy()), "flow"),
    "estimator of one dimension": (lambda: pf.FlowDensity().fit(np.zeros(4)), "2D|dimension"),
    "odd image": (lambda: pf.glow((1, 7, 7)), "7"),
    "levels": (lambda: pf.pixelcnn((1, 4, 4), levels=1), "levels"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence(case):
    call, names = CASES[case]
    with pytest.raises(ValueError, match=names) as caught:
        call()
    sentence = str(caught.value)
    assert (
        "\n" not in sentence.strip() or "estimator" in case
    )  # scikit-learn's own sentence has a hint on a second line
    assert len(sentence) < 300


def test_a_missing_file_names_itself(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        pf.load(tmp_path / "nowhere")
