"""Saved models: what comes back is the same model, and what is damaged is named in one sentence."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forgery import forge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pushforward as pf
from pushforward.distributions.average import Average, GivenFeatures
from pushforward.numerics.torch_internals import watch_operators
from pushforward.saving import checkpoint
from pushforward.saving.checkpoint import CheckpointError, load_extra
from pushforward.saving.upgrade import upgrade
from pushforward.transforms import Columns, Compose, Extended, Histogram, Standardize
from pushforward.transforms.normalization import Precision
from pushforward.transforms.relations import Remainder


def random_flow(recipe=pf.maf, features=3, **options):
    torch.manual_seed(0)
    flow = recipe(features, **{"layers": 2, "hidden": (8,), **options})
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return flow


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    pf.save(random_flow(), path, extra={"columns": ["a", "b", "c"]})
    return path


@pytest.fixture
def model(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def outcome(path: Path):
    """The model, or what the error says; any other exception fails the test."""
    try:
        return pf.load(path), ""
    except CheckpointError as error:
        return None, str(error)


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


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_density_bit_for_bit(tmp_path):
    flow, x = random_flow(), torch.linspace(-2, 2, 30).view(10, 3)
    pf.save(flow, tmp_path / "model")
    code = "import sys, torch, pushforward as pf; x = torch.linspace(-2, 2, 30).view(10, 3)\n"
    code += "print(pf.load(sys.argv[1])(x).double().tolist())"
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "model"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == flow(x).double().tolist()


def test_tensors_of_another_precision_keep_it(tmp_path):
    scale = Standardize(torch.tensor([1e9, 0.0], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64))
    inner = random_flow(pf.realnvp, 2)
    formula = Remainder(0, [(1.0, [(1, 1.0)])], cells=[(1, [(1.1, -0.1, 0.2)])])
    flow = pf.Flow(Compose([formula, scale, Precision(), inner.transform]), 2)
    x = torch.tensor([[1e9 + 0.25, 1.0]], dtype=torch.float64)
    pf.save(flow, tmp_path / "model")
    loaded = pf.load(tmp_path / "model")
    assert torch.equal(loaded(x), flow(x))
    assert loaded.transform.transforms[1].loc.dtype == torch.float64
    assert next(loaded.parameters()).dtype == torch.float32


def test_a_guide_whose_weights_had_a_power_is_read_without_it():
    config = {"format": 4, "model": {"type": "Guided", "arguments": {"tell": [], "power": 1.0}}}
    assert upgrade(config, {})[0]["model"]["arguments"] == {"tell": []}


def test_loading_leaves_the_callers_random_numbers(model):
    before = torch.get_rng_state()
    pf.load(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_again_replaces_the_model_and_keeps_other_files(model):
    (model / "notes.txt").write_text("mine")
    flow = random_flow(pf.realnvp)
    pf.save(flow, model)
    assert type(pf.load(model).transform.transforms[0]).__name__ == "Coupling"
    assert (model / "notes.txt").read_text() == "mine"
    assert [p.name for p in model.parent.iterdir()] == ["model"]


def test_what_is_not_a_model_is_not_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "config.json").write_text('{"model_type": "another program\'s"}')
    (tmp_path / "file").write_text("text")
    for name in ("thesis", "file"):
        with pytest.raises(ValueError, match="is not a saved model"):
            pf.save(random_flow(), tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "thesis"]


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="model must be a flow"):
        pf.save(torch.nn.Linear(1, 1), tmp_path / "model")
    for extra in ({"x": torch.zeros(1)}, {"x": float("nan")}):
        with pytest.raises((TypeError, ValueError), match="cannot be written as JSON"):
            pf.save(random_flow(), tmp_path / "model", extra=extra)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        pf.load(model)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a saved model"):
        pf.load(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(model):
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model.safetensors is missing"):
        pf.load(model)


DAMAGES = {
    "a newer format": (lambda c, w: c.update(format=99), "has format 99, and this pushforward"),
    "no format": (lambda c, w: c.pop("format"), "format should be a number"),
    "an unknown class": (lambda c, w: c["model"].update(type="os.system"), "unknown type 'os.system'"),
    "no module": (lambda c, w: c.update(model=[1, 2]), "should describe a module, got list"),
    "an unknown dtype": (lambda c, w: c.update(dtype="nn"), "unknown dtype 'nn'"),
    "a missing tensor": (lambda c, w: w.pop(sorted(w)[0]), "lacks the tensor"),
    "an unexpected tensor": (lambda c, w: w.update(more=torch.zeros(1)), "unexpected tensor 'more'"),
    "a wrong shape": (lambda c, w: w.update({k: w[k][:-1] for k in sorted(w)[:1]}), "has shape"),
    "a wrong dtype": (lambda c, w: w.update({k: w[k].half() for k in sorted(w)[:1]}), "has dtype torch.float16"),
    "a path for a name": (lambda c, w: w.update({"../../etc/passwd": torch.zeros(1)}), "unexpected tensor"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_forged_model_is_refused_in_one_sentence(model, damage):
    change, message = DAMAGES[damage]
    forge(model, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        pf.load(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sizes", [{"hidden": [10**6]}, {"hidden": [10**12]}, {"features": 10**9}, {"hidden": [10**4] * 5}], ids=str
)
def test_absurd_sizes_are_refused_before_anything_is_allocated(model, monkeypatch, sizes):
    largest = 0
    empty = torch.empty

    def watched(*shape, **options):
        nonlocal largest
        tensor = empty(*shape, **options)
        largest = max(largest, tensor.numel() if tensor.device.type != "meta" else 0)
        return tensor

    def enlarge(config, weights):
        first = config["model"]["arguments"]["transform"]["arguments"]["transforms"][0]
        first["arguments"]["net"]["arguments"].update(sizes)

    forge(model, enlarge)
    monkeypatch.setattr(torch, "empty", watched)
    with pytest.raises(CheckpointError, match=r"far larger than its weights|does not fit|cannot be built"):
        pf.load(model)
    assert largest < 2**26


def test_small_numbers_in_a_map_are_taken_for_no_sizes(tmp_path, monkeypatch):
    """What may be large is tried on the meta device first, for which PyTorch imports its compiler: a second."""
    spikes = Extended(Histogram([0.0, 1.0, 2.0], [0.1, 0.5, 0.9]), (0.0, 1.0, 0.5), None)
    pf.save(pf.Flow(Columns([spikes]), 1), tmp_path / "model")
    monkeypatch.setattr(checkpoint, "_elements", None)
    pf.load(tmp_path / "model")


LARGE = {
    "nothing between": lambda one: one.new_zeros(2**15, 0) @ one.new_zeros(0, 2**15),
    "a sum of nothing": lambda one: one.new_zeros(2**15, 0, 2**15).sum(1),
    "padded at each end": lambda one: torch.nn.functional.pad(one.view([1] * 30), [1] * 60),
    "read again and again": lambda one: one.expand(2**40).sum(),
    "found again and again": lambda one: one.expand(2**40).nonzero(),
    "steps": lambda one: torch.arange(0.0, 1.0, 1e-12),
    "copies": lambda one: one.repeat(2**20, 2**20),
    "each beside each": lambda one: one.expand(2**15, 1) + one.expand(2**15),
}


@pytest.mark.parametrize("operation", LARGE)
def test_what_is_large_of_small_parts_is_refused(operation):
    with pytest.raises(ValueError, match="far larger"), watch_operators(checkpoint._Bound(2**20, 100)):
        LARGE[operation](torch.ones(1))


def test_a_large_number_is_no_large_size():
    with watch_operators(checkpoint._Bound(2**20, 100)):
        assert torch.full((3,), 1e300, dtype=torch.float64).clamp(-1e200, 1e200).sum() == 3e200


def test_a_header_of_very_many_tensors_is_refused_unread(model):
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({f"t{place}": entry for place in range(150_000)}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    start = time.process_time()
    with pytest.raises(ValueError, match="header"):
        pf.load(model)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "null", "", '{"format": 1e999}', "\x00", "1" * 10**5])
def test_a_config_that_is_no_sound_json_is_refused(model, text):
    (model / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        pf.load(model)


def test_a_deep_nest_of_modules_is_refused(model):
    def nest(config, weights):
        for _ in range(300):
            config["model"] = {"type": "Inverse", "arguments": {"transform": config["model"]}}

    forge(model, nest)
    with pytest.raises(CheckpointError, match="cannot be built"):
        pf.load(model)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["config.json", "model.safetensors"]))
def test_a_flipped_bit_or_a_cut_is_always_noticed(saved, tmp_path, data, name):
    shutil.copytree(saved, tmp_path / "model", dirs_exist_ok=True)
    content = bytearray((saved / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[place:]
    (tmp_path / "model" / name).write_bytes(content)
    loaded, message = outcome(tmp_path / "model")
    assert "\n" not in message
    if loaded is not None:  # white space of the JSON: nothing that means anything
        assert name == "config.json"
        assert torch.equal(loaded(torch.ones(1, 3)), pf.load(saved)(torch.ones(1, 3)))


def places(value, path=()):
    """Paths to all the values inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


SCALARS = [None, True, -1, 0, 2, 10**6, 10**12, 2**63, 10**300, 1e308, "", "x", "float16"]
LISTS = [[], [[]], [10**6] * 50, {}, {"dict": []}, {"tensor": "x"}, {"tensor": [10**6], "dtype": "int64"}]
MODULES = [
    {"type": "Flow", "arguments": {}},
    {"type": []},
    {"type": "Configurable"},
    {"type": "Compose", "arguments": []},
]
SHARED = [{"again": 0}, {"again": []}, {"type": "Diagonal", "arguments": {"features": 3}, "shared": {}}]
ODD = st.sampled_from([*SCALARS, *LISTS, *MODULES, *SHARED])


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    pf.save(random_flow(), folder / "maf")
    pf.save(random_flow(pf.nsf, bins=4), folder / "nsf")
    pf.save(pf.made(3, hidden=(8,), conditional="categorical", classes=4), folder / "made")
    pf.save(pf.pixelcnn((1, 3, 3), levels=4, hidden=4, layers=2), folder / "pixelcnn")
    return folder


@pytest.mark.parametrize("name", ["maf", "nsf", "made", "pixelcnn"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mutation_of_a_config_gets_further_than_an_error(saved_models, tmp_path, name, data):
    shutil.copytree(saved_models / name, tmp_path / "model", dirs_exist_ok=True)

    def mutate(config, weights):
        original = copy.deepcopy(config)
        *path, key = data.draw(st.sampled_from([path for path in places(config) if path]))
        inner = config
        for step in path:
            inner = inner[step]
        if data.draw(st.booleans()):
            inner[key] = data.draw(ODD)
        else:
            moved = original
            for step in data.draw(st.sampled_from(list(places(original)))):
                moved = moved[step]
            inner[key] = moved

    forge(tmp_path / "model", mutate)
    assert "\n" not in outcome(tmp_path / "model")[1]


def test_a_tensor_in_the_place_of_a_size_keeps_nobody_waiting(tmp_path):
    pf.save(pf.pixelcnn((1, 3, 3), levels=4, hidden=4, layers=2), tmp_path / "model")

    def mutate(config, weights):
        for *path, key in [path for path in places(config) if path and path[-1] == "hidden"]:
            inner = config
            for step in path:
                inner = inner[step]
            inner[key] = {"tensor": [10**6], "dtype": "int64"}

    forge(tmp_path / "model", mutate)
    start = time.process_time()
    assert outcome(tmp_path / "model")[0] is None
    assert time.process_time() - start < 30


def test_a_layer_of_torch_that_occurs_twice_stays_one(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    model = Average([GivenFeatures(pf.gmm(1, context=2, components=k), layer, context=3) for k in (1, 2)])
    pf.save(model, tmp_path / "model")
    loaded, x, context = pf.load(tmp_path / "model"), torch.randn(4, 1), torch.randn(4, 3)
    assert loaded.members[0].features is loaded.members[1].features
    assert torch.equal(loaded.log_prob(x, context), model.log_prob(x, context))
