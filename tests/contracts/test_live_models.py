"""What is saved is the flow as it is: every edit that PyTorch allows comes back, or is refused in one sentence."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward import transforms as T
from pushforward.distributions.base import StandardNormal
from pushforward.nets.field import MLPField
from pushforward.nets.mlp import MLP
from pushforward.saving.checkpoint import CheckpointError
from pushforward.saving.config import Configurable
from pushforward.testing import randomize


class Wide(Configurable):
    """N(0, scale² I): a base of a user's own."""

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        self.normal, self.scale = StandardNormal((features,)), scale
        self.event_shape = self.normal.event_shape

    def log_prob(self, z):
        return self.normal.log_prob(z / self.scale) - len(self.event_shape) * torch.log(torch.tensor(self.scale))

    def sample(self, shape, generator=None, temperature=1.0):
        return self.normal.sample(shape, generator=generator, temperature=temperature) * self.scale


def coupling(swap: bool = False, hidden: int = 6) -> T.Coupling:
    split = T.Half(3, swap=swap)
    return T.Coupling(split, MLP(split.kept, split.moved, 2, hidden=(hidden,)), T.Affine())


def flow() -> pf.Flow:
    torch.manual_seed(0)
    return randomize(pf.Flow(T.Compose([coupling(), T.PLU(3), coupling(swap=True)]), 3)).eval()


def edit(change):
    """A flow, changed."""
    changed = flow()
    change(changed)
    return changed.eval()


def replace(place: str, value):
    def change(model):
        parent, _, name = place.rpartition(".")
        setattr(model.get_submodule(parent), name, value)

    return change


SAVED = {
    "nothing": lambda f: None,
    "the base": replace("base", Wide(3, 2.5)),
    "an attribute of a new base": lambda f: (replace("base", Wide(3, 2.5))(f), setattr(f.base, "scale", 0.7)),
    "the scalar map": replace("transform.transforms.0.scalar", T.Affine(1.5)),
    "the limit of a scalar map": replace("transform.transforms.0.scalar.limit", 1.5),
    "a network": replace("transform.transforms.0.net", randomize(MLP(1, 2, 2, hidden=(9, 4)))),
    "an appended layer": lambda f: f.transform.transforms.append(randomize(T.Diagonal(3))),
    "an inserted layer": lambda f: f.transform.transforms.insert(1, T.Permutation([2, 0, 1])),
    "a dropped layer": lambda f: f.transform.transforms.pop(1),
    "an exchanged layer": lambda f: f.transform.transforms.__setitem__(1, randomize(T.QR(3))),
    "an inverted layer": lambda f: f.transform.transforms.__setitem__(1, T.Inverse(f.transform[1])),
    "an inverted transform": lambda f: setattr(f, "transform", T.Inverse(f.transform)),
    "a slice": lambda f: setattr(f, "transform", f.transform[1:]),
    "two layers in the other order": lambda f: setattr(f, "transform", T.Compose(list(f.transform)[::-1])),
    "a layer that stands twice": lambda f: f.transform.transforms.append(f.transform[0]),
    "recomputed activations": lambda f: setattr(f, "transform", T.Reversible(list(f.transform))),
    "frozen parameters": lambda f: f.transform[0].requires_grad_(False),
    "another number type": lambda f: f.double(),
    "another number type of one layer": lambda f: f.transform.transforms.append(T.Diagonal(3).double()),
    "a note": lambda f: setattr(f, "note", "the third try"),
}


@pytest.mark.parametrize("name", SAVED)
def test_an_edited_flow_is_saved_as_it_is(name, tmp_path):
    changed = edit(SAVED[name])
    pf.save(changed, tmp_path / "model")
    loaded = pf.load(tmp_path / "model")
    x = torch.randn(7, 3, dtype=next(changed.parameters()).dtype)
    assert torch.equal(loaded.log_prob(x), changed.log_prob(x))
    assert loaded.state_dict().keys() == changed.state_dict().keys()
    for (name, one), (same, other) in zip(changed.named_parameters(), loaded.named_parameters(), strict=True):
        assert (name, one.requires_grad, one.dtype) == (same, other.requires_grad, other.dtype)


def test_a_layer_that_stands_twice_stays_one_layer(tmp_path):
    changed = edit(SAVED["a layer that stands twice"])
    pf.save(changed, tmp_path / "model")
    loaded = pf.load(tmp_path / "model")
    assert loaded.transform[3] is loaded.transform[0]


def test_the_settings_of_a_solver_are_saved_as_they_are(tmp_path):
    from dataclasses import replace as replaced

    model = randomize(pf.Flow(T.Continuous(MLPField(2, hidden=(8,))), 2)).eval()
    model.transform.solver = replaced(model.transform.solver, rtol=1e-3, atol=1e-3)
    model.transform.trace = "exact"
    pf.save(model, tmp_path / "model")
    loaded, x = pf.load(tmp_path / "model"), torch.randn(5, 2)
    assert loaded.transform.solver == model.transform.solver
    assert torch.equal(loaded.log_prob(x), model.log_prob(x))


def test_the_matrix_of_a_convolution_is_saved_as_it_is(tmp_path):
    conv = T.Conv1x1(4, normalize=True)
    conv.matrix, conv.norm = T.QR(4), None
    model = pf.Flow(T.Compose([conv]), (4, 2, 2)).eval()
    pf.save(model, tmp_path / "model")
    x = torch.randn(3, 4, 2, 2)
    assert torch.equal(pf.load(tmp_path / "model").log_prob(x), model.log_prob(x))


def tie(model):
    model.transform[2].net.biases[0] = model.transform[0].net.biases[0]


def add_hook(model):
    model.transform[1].register_forward_hook(lambda module, args, result: None)


def parametrise(model):
    nn.utils.parametrizations.orthogonal(model.transform[1], "factors")


REFUSED = {
    "a foreign module": (replace("base", nn.Bilinear(3, 3, 3)), TypeError, r"linear.Bilinear cannot be"),
    "a foreign layer": (lambda f: f.transform.transforms.append(nn.Hardtanh()), TypeError, "Hardtanh cannot be saved"),
    "an additional module": (lambda f: f.add_module("more", T.Diagonal(3)), ValueError, "more is a Diagonal"),
    "an additional parameter": (
        lambda f: f.register_parameter("more", nn.Parameter(torch.zeros(2))), ValueError, "more is a tensor"),
    "an additional buffer": (lambda f: f.register_buffer("more", torch.zeros(2)), ValueError, "more is a tensor"),
    "a resized weight": (
        replace("transform.transforms.0.net.biases.0", nn.Parameter(torch.zeros(9))), ValueError, "biases.0 has"),
    "a deleted module": (lambda f: delattr(f.transform[0], "scalar"), ValueError, "no attribute 'scalar'"),
    "a method": (lambda f: setattr(f.transform, "forward", lambda x: x), ValueError, "transform.forward was set"),
    "an attribute of a user's class": (
        lambda f: (replace("base", Wide(3, 2.5))(f), setattr(f.base, "shift", 3.0)), ValueError, "base.shift was set"),
    "a derived attribute": (
        replace("transform.transforms.0.split.cut", 2), ValueError, r"transform.transforms.0.split.cut is 2, but"),
    "a derived buffer": (lambda f: f.base.loc.fill_(1.0), ValueError, "base.loc, which is derived"),
    "tied parameters": (tie, ValueError, "it ties parameters"),
    "a hook": (add_hook, ValueError, "has forward hooks"),
    "a parametrised weight": (parametrise, ValueError, r"transform.transforms.1 is parametrised"),
    "events of other dimensions": (
        lambda f: f.transform.transforms.insert(0, T.Squeeze()), ValueError, "ends with events of 3 dimensions"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_edit_that_no_file_can_hold_is_refused_in_one_sentence(name, tmp_path):
    change, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as caught:
        pf.save(edit(change), tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_saving_leaves_the_callers_random_numbers(tmp_path):
    model = flow()
    before = torch.get_rng_state()
    pf.save(model, tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_has_the_same_names_whether_activations_are_stored_or_not():
    states = [pf.glow((1, 8, 8), levels=2, steps=2, hidden=4, reversible=r).state_dict() for r in (False, True)]
    assert list(states[0]) == list(states[1])


def test_replaced_transforms_are_those_that_run_whether_activations_are_stored_or_not():
    reversible, x = T.Reversible([coupling()]), torch.randn(4, 3)
    reversible.transforms = nn.ModuleList([randomize(T.Diagonal(3)), randomize(coupling())])
    with torch.no_grad():
        expected = T.Compose(list(reversible.transforms))(x)
        torch.testing.assert_close(reversible(x), expected)
    torch.testing.assert_close(reversible(x), expected)
    assert len(reversible.state_dict()) == len(T.Compose(list(reversible.transforms)).state_dict())


def test_a_few_lines_that_ask_for_billions_of_modules_are_refused(tmp_path):
    from forgery import forge

    pf.save(flow(), tmp_path / "model")

    def nest(config, weights):
        part = {"type": "Diagonal", "arguments": {"features": 3}, "shared": 0}
        for level in range(40):
            both = [part, {"again": level}]
            part = {"type": "Compose", "arguments": {"transforms": both}, "shared": level + 1}
        config["model"]["arguments"]["transform"] = part

    forge(tmp_path / "model", nest)
    assert len(json.dumps((tmp_path / "model" / "config.json").read_text())) < 20_000
    with pytest.raises(CheckpointError, match="far larger than its weights"):
        pf.load(tmp_path / "model")
