"""The report holds the right numbers, and keeps hostile text as text."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from reports import write_rows
from scipy import stats

import pushforward as pf
from pushforward.diagnostics.linear_gaussian import LinearGaussian
from pushforward.training.batches import Rows
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
    known = {"train": Rows(train.double()), "gaussian": LinearGaussian(train)}
    numbers = write_rows(path, flow, held_out, columns=HOSTILE, **known, history=history, command="fit <x>")
    return numbers, path.read_text(encoding="utf-8"), flow, train, held_out


def test_likelihoods_are_those_of_an_independent_computation(written) -> None:
    numbers, _, flow, train, held_out = written
    shown = numbers["likelihood"]
    flow_log_prob = flow(held_out).detach().double().numpy()
    covariance = torch.cov(train.double().T, correction=0).numpy()
    gaussian = stats.multivariate_normal(train.double().mean(0).numpy(), covariance).logpdf(held_out.double().numpy())
    n = len(held_out)
    assert shown["held_out"] == pytest.approx(flow_log_prob.mean(), abs=1e-5)
    assert shown["held_out_error"] == pytest.approx(flow_log_prob.std(ddof=1) / math.sqrt(n), rel=1e-5)
    beside = shown["against"]["a full-covariance Gaussian"]
    assert beside["mean"] == pytest.approx(gaussian.mean(), abs=1e-5)
    assert beside["difference"] == pytest.approx((flow_log_prob - gaussian).mean(), abs=1e-5)
    assert beside["difference_error"] == pytest.approx((flow_log_prob - gaussian).std(ddof=1) / math.sqrt(n), rel=1e-4)
    assert numbers["overview"]["mean_log_likelihood"] == shown["held_out"]


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
    assert [row["row"] for row in rows] == (log_prob.argsort()[: len(rows)] + 1).tolist()
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


def _assert_no_gaps(html: str, numbers: dict) -> None:
    """No NaN where a number should be, in words, figures or JSON."""
    json.dumps(numbers, allow_nan=False)
    assert not re.findall(r"[^a-zA-Z](?:nan|NaN|inf|Infinity)[^a-zA-Z]", html)
    assert len(html) < 3_000_000


@pytest.mark.parametrize(
    ("features", "rows"),
    [
        (1, 20),
        (2, 20),
        (1, 300),
        pytest.param(30, 400, marks=pytest.mark.slow),
        pytest.param(40, 20, marks=pytest.mark.slow),
    ],
)
def test_any_number_of_columns_and_few_rows(tmp_path, features: int, rows: int) -> None:
    x = curved(rows, features, seed=3)
    flow = flow_for(x) if features < 40 else pf.realnvp(features, layers=2, hidden=(16,))
    path = tmp_path / "report.html"
    numbers = write_rows(path, flow, x, columns=[f"c{j}" for j in range(features)], samples=300)
    html = path.read_text(encoding="utf-8")
    _assert_no_gaps(html, numbers)
    assert ("corner-" in html) == (features > 1)
    assert ("left out" in html) == (features > 5)


def test_one_row_is_enough_to_write_a_page(tmp_path) -> None:
    one = torch.tensor([[0.5, 1.0]])
    numbers = write_rows(tmp_path / "r.html", pf.maf(2, layers=1), one, columns=["a", "b"], samples=50)
    _assert_no_gaps((tmp_path / "r.html").read_text(encoding="utf-8"), numbers)


def test_a_conditional_flow_is_judged_within_each_context(tmp_path) -> None:
    generator = torch.Generator().manual_seed(6)
    context = 5 * torch.randn(300, 1, generator=generator)
    x = context + torch.randn(300, 2, generator=generator)
    flow = flow_for(x, context=1)

    class Exact(pf.Flow):  # x - c is standard normal
        def log_prob(self, x, context=None, t=None):
            return self.base.log_prob(x - context)

        def sample(self, shape=(), context=None, *, generator=None, temperature=1.0, t=None):
            return context + torch.randn(*context.shape[:-1], 2, generator=generator)

    exact = Exact(flow.transform, flow.base, context=1)
    numbers = write_rows(
        tmp_path / "r.html",
        exact,
        x,
        columns=["a", "b"],
        context=context,
        gaussian=LinearGaussian(x, context),
        samples=30_000,
    )
    calibration, beside = numbers["calibration"], numbers["likelihood"]["against"]["a full-covariance Gaussian"]
    for nominal, covered, error in zip(*(calibration[key] for key in ("levels", "covered", "error")), strict=True):
        assert abs(covered - nominal) < 3.5 * error
    assert abs(beside["difference"]) < 0.05  # the Gaussian's mean follows the context, too
    ranks = numbers["ranks"]
    assert list(ranks["tests"]) == ["a", "b", "density", "distance"]
    assert ranks["trusted"]
    assert ranks["n"] == 300
    assert 0 < ranks["local"]["p_value"] <= 1
    _assert_no_gaps((tmp_path / "r.html").read_text(encoding="utf-8"), numbers)


def test_rows_without_a_density_are_counted_and_left_out(tmp_path) -> None:
    x = curved(50, 1, seed=7)
    x[3] = -1.0
    flow = pf.Flow(Compose([pf.transforms.Log(), Standardize([2.0], [0.5])]), 1)
    numbers = write_rows(tmp_path / "r.html", flow, x, columns=["a"], samples=100)
    assert numbers["overview"]["not_finite"] == 1
    assert math.isfinite(numbers["overview"]["mean_log_likelihood"])
    assert numbers["unlikely"]["rows"][0]["row"] == 4
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "1 held-out row gets no density" in html
    json.dumps(numbers, allow_nan=False)


def test_another_model_is_compared_row_by_row(tmp_path) -> None:
    x = curved(200, 2, seed=9)
    flow, other = flow_for(x), pf.Flow(Standardize(x.mean(0), 2 * x.std(0)), 2)
    rival = {"<the wide one>": other.log_prob(x).detach().double()}
    numbers = write_rows(tmp_path / "r.html", flow, x, columns=["a", "b"], samples=200, rivals=rival)
    shown = numbers["likelihood"]["against"]["<the wide one>"]
    lead = (flow(x) - other(x)).detach().double()
    assert shown["difference"] == pytest.approx(float(lead.mean()), abs=1e-5)
    assert shown["difference_error"] == pytest.approx(float(lead.std()) / math.sqrt(200), rel=1e-4)
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "better than &lt;the wide one&gt;" in html


def test_a_model_without_latents_has_no_section_about_them(tmp_path) -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 2, (60, 3), generator=torch.Generator().manual_seed(11)).float()
    model = pf.made(3, conditional="bernoulli", hidden=(16,))
    numbers = write_rows(tmp_path / "r.html", model, x, columns=["a", "b", "c"], samples=100)
    assert "latents" not in numbers
    assert numbers["likelihood"]["held_out"] == pytest.approx(float(model(x).detach().mean()), abs=1e-5)
