"""The papers behind a model."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

import pushforward as pf
from pushforward import citation, transforms
from pushforward.citation import ALWAYS, bibliography, papers, parts
from pushforward.objectives.fab import AnnealedBootstrap

PLU = {"kingma2018glow"}  # of the matrices around the layers


def keys(model) -> set[str]:
    return set(re.findall(r"@\w+\{(\w+),", bibliography(model)))


def test_every_paper_that_is_named_is_there_and_well_formed() -> None:
    assert {*ALWAYS} <= set(papers())
    for key, entry in papers().items():
        assert entry.count("{") == entry.count("}"), key
        assert re.search(r"author\s*=.*title\s*=.*year\s*=\s*\{" + key.strip("abcdefghijklmnopqrstuvwxyz"), entry, re.S)


def test_every_paper_is_that_of_some_model() -> None:
    said = (Path(citation.__file__)).read_text()
    assert [key for key in papers() if key not in parts() and f'"{key}"' not in said] == []


def test_what_papers_name_as_their_parts_is_there() -> None:
    text = "\n".join(path.read_text() for path in Path(pf.__file__).parent.rglob("*.py"))
    named = {name for names in parts().values() for name in names}
    assert len(named) > 60
    assert {name for name in named if f"class {name}(" not in text and f'"{name}"' not in text} == set()


def test_every_paper_of_a_docstring_is_there() -> None:
    methods = Path(__file__).with_name("methods.bib").read_text()  # of training, tests and diagnostics, not of a model
    root, known = Path(pf.__file__).parent, methods + "\n".join(papers().values())
    numbers = re.compile(r"arXiv:((?:[a-z-]+/)?\d[\d.]+\d)")
    named = {number: path for path in root.rglob("*.py") for number in numbers.findall(path.read_text())}
    assert len(named) > 80
    assert {number: path for number, path in named.items() if number not in known} == {}


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (lambda: pf.maf(3, layers=1), {"papamakarios2017masked", "germain2015made"}),
        (lambda: pf.iaf(3, layers=1), {"papamakarios2017masked", "germain2015made", "kingma2016improved"}),
        (lambda: pf.realnvp(3, layers=2), {"dinh2015nice", "dinh2017density"}),
        (lambda: pf.nsf(3, layers=1), {"papamakarios2017masked", "germain2015made", "durkan2019neural", *PLU}),
        (lambda: pf.ffjord(3), {"chen2018neural", "grathwohl2019ffjord", "dormand1980family"}),
        (
            lambda: pf.tarflow((1, 2, 2), patch=1, width=8, inversion="blocks"),
            {"papamakarios2017masked", "vaswani2017attention", "zhai2024normalizing", "liu2025accelerate"},
        ),
        (lambda: pf.planar(3), set()),  # by the paper that named flows
        (lambda: pf.sylvester(3), {"vandenberg2018sylvester"}),
        (lambda: pf.bnaf(3), {"decao2019block"}),
        (
            lambda: pf.residual(3, layers=1),
            {"behrmann2019invertible", "chen2019residual", "delattre2023efficient", "kingma2018glow"},
        ),
        (lambda: transforms.QR(3), {"hoogeboom2019emerging"}),
        (lambda: transforms.Identity(), set()),
    ],
    ids=[
        "maf",
        "iaf",
        "realnvp",
        "nsf",
        "ffjord",
        "tarflow",
        "planar",
        "sylvester",
        "bnaf",
        "residual",
        "QR",
        "Identity",
    ],
)
def test_a_model_cites_its_parts(flow, expected: set[str]) -> None:
    assert keys(flow()) == expected | set(ALWAYS)


def test_hutchinson_is_cited_where_he_is_used() -> None:
    assert "hutchinson1990stochastic" in keys(pf.ffjord(3, trace="hutchinson"))


def test_an_objective_cites_its_flow_and_its_estimator() -> None:
    objective = pf.ReverseKL(pf.realnvp(2, layers=1), lambda x: -x.square().sum(-1), estimator="path")
    assert {"dinh2017density", "roeder2017sticking"} <= keys(objective)


def test_guidance_is_cited_where_it_is_trained() -> None:
    flow = pf.tarflow((1, 2, 2), patch=1, width=8, context=2)
    assert "ho2022classifier" in keys(pf.ForwardKL(flow, drop=0.1)) - keys(pf.ForwardKL(flow))


def test_annealed_draws_cite_their_paper() -> None:
    objective = AnnealedBootstrap(pf.realnvp(2, layers=1), lambda x: -x.square().sum(-1))
    assert {"dinh2017density", "midgley2023flow"} <= keys(objective)


def test_cite_prints() -> None:
    out = io.StringIO()
    pf.cite(pf.maf(2, layers=1), file=out)
    assert out.getvalue().startswith("@inproceedings{germain2015made")
