"""The report holds the right numbers, keeps hostile text as text, and is the same file for the same arguments."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from scipy import stats

import pushforward as pf
from pushforward.report.build import write_report
from pushforward.transforms import Compose, Standardize

HOSTILE = ["<script>alert(1)</script>", "$price_$", "x" * 200, "größe 价格", '"quoted" & {{ 1 + 1 }}']


def curved(rows: int, features: int, seed: int) -> torch.Tensor:
    x = torch.randn(rows, features, generator=torch.Generator().manual_seed(seed))
    if features > 1:
        x[:, 1] = 0.5 * x[:, 1] + x[:, 0] ** 2
    return 3 * x + 10


def flow_for(x: torch.Tensor, context: int = 0) -> pf.Flow:
    torch.manual_seed(0)
    features = x.shape[1]
    body = pf.maf(features, layers=2, hidden=(64,), context=context).transform
    return pf.Flow(Compose([Standardize(x.mean(0), x.std(0)), *body.transforms]), features, context=context)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str, pf.Flow, torch.Tensor, torch.Tensor]:
    train, held_out = curved(400, 5, seed=1), curved(300, 5, seed=2)
    flow, path = flow_for(train), tmp_path_factory.mktemp("report") / "report.html"
    history = [
        {"step": s, "epoch": s, "seconds": s / 9, "train_loss": 9 - s, "validation_loss": (s - 3) ** 2}
        for s in range(6)
    ]
    numbers = write_report(
        path, flow, held_out, columns=HOSTILE, train=train, history=history, command="fit <x>", samples=500
    )
    return numbers, path.read_text(encoding="utf-8"), flow, train, held_out


def test_likelihoods_are_those_of_an_independent_computation(written) -> None:
    numbers, _, flow, train, held_out = written
    shown = numbers["likelihood"]
    flow_log_prob = flow(held_out).detach().double().numpy()
    covariance = torch.cov(train.double().T, correction=0).numpy()
    gaussian = stats.multivariate_normal(train.double().mean(0).numpy(), covariance).logpdf(held_out.double().numpy())
    n = len(held_out)
    assert shown["flow"] == pytest.approx(flow_log_prob.mean(), abs=1e-5)
    assert shown["flow_error"] == pytest.approx(flow_log_prob.std(ddof=1) / math.sqrt(n), rel=1e-5)
    assert shown["gaussian"] == pytest.approx(gaussian.mean(), abs=1e-5)
    assert shown["difference"] == pytest.approx((flow_log_prob - gaussian).mean(), abs=1e-5)
    assert shown["difference_error"] == pytest.approx((flow_log_prob - gaussian).std(ddof=1) / math.sqrt(n), rel=1e-4)
    assert numbers["overview"]["mean_log_likelihood"] == shown["flow"]


def test_latents_are_measured_like_scipy_does(written) -> None:
    numbers, _, flow, _, held_out = written
    z = flow.transform(held_out)[0].detach().double().numpy()
    for dimension, column in zip(numbers["latents"]["dimensions"], z.T, strict=True):
        assert dimension["ks"] == pytest.approx(stats.kstest(column, "norm").statistic, abs=1e-6)
        assert dimension["mean"] == pytest.approx(column.mean(), abs=1e-6)


def test_the_least_likely_rows_are_the_least_likely(written) -> None:
    numbers, _, flow, train, held_out = written
    log_prob = flow(held_out).detach()
    rows = numbers["unlikely"]["rows"]
    assert [row["row"] for row in rows] == log_prob.argsort()[: len(rows)].tolist()
    below = (flow(train).detach() < log_prob.min()).double().mean()
    assert rows[0]["percentile"] == pytest.approx(100 * float(below), abs=1e-9)


def test_the_best_step_is_the_one_with_the_lowest_validation_loss(written) -> None:
    numbers, html, *_ = written
    assert (numbers["training"]["best_step"], numbers["training"]["best_loss"]) == (3, 0)
    assert "lowest at step 3" in html


def test_hostile_names_stay_text(written) -> None:
    _, html, *_ = written
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "fit &lt;x&gt;" in html
    assert "{{ 1 + 1 }}" in html


def test_nothing_points_outside_and_ids_are_unique(written) -> None:
    _, html, *_ = written
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", html)
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {"http://www.w3.org/2000/svg"}
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_numbers_inside_the_page_are_those_returned(written) -> None:
    numbers, html, *_ = written
    inside = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', html, re.S)
    assert inside is not None
    assert json.loads(inside[1]) == json.loads(json.dumps(numbers))
