"""The options that recipes share: refused where they do not apply, explained wherever they do."""

import doctest
import inspect

import pytest
import torch

import pushforward as pf
from pushforward.recipes import models

RECIPES = (
    "anyorder bnaf bpf ffjord gf glow iaf made maf naf ncsf nice nsf pixelcnn planar realnvp residual sospf sylvester"
)
RECIPES = [getattr(pf, name) for name in [*RECIPES.split(), "tarflow", "triangular_spline", "unaf"]]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_help_explains_every_argument_once_in_the_order_of_the_signature(recipe):
    lines = inspect.getdoc(recipe).splitlines()
    at = lines.index("Args:")
    told = [line.split(":")[0].strip() for line in lines[at:] if line.startswith("    ") and line[4] != " "]
    names = list(inspect.signature(recipe).parameters)
    assert told[: len(names)] == names
    assert lines.index("Raises:") > at


@pytest.mark.parametrize(("name", "option"), [("ffjord", "residual"), ("planar", "activation"), ("made", "residual")])
def test_options_of_other_recipes_are_refused(name, option):
    with pytest.raises(TypeError, match=option):
        getattr(pf, name)(3, **{option: True})


def test_any_order_models_have_a_device_and_a_dtype():
    density = pf.anyorder(3, device="cpu", dtype=torch.float64)
    assert density.log_prob(torch.zeros(3, dtype=torch.float64)).dtype == torch.float64


def test_examples_in_docstrings_are_found_where_they_are_written():
    found = {test.name.rpartition(".")[2] for test in doctest.DocTestFinder().find(models) if test.examples}
    assert found == {"anyorder", "gmm"}
