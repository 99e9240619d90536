"""A saved model is a directory: ``config.json`` says how to build it, ``model.safetensors`` holds its tensors.

Nothing in it can run: the config names classes that are already imported, the weights are plain arrays. A digest over
both files detects damage, and what a config asks for is bounded by the size of its weights before anything is
allocated. docs/saved_models.md specifies the format.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..numerics.torch_internals import takes_device, watch_operators, writes
from .bundle import CheckpointError as CheckpointError
from .bundle import read_config, read_tensors, write_bundle
from .config import Configurable, build, describe, dtype_named
from .same import difference
from .upgrade import present_names, unpack, upgrade, with_orders

FORMAT = 4
TOO_LARGE = "it is far larger than its weights"
FREE_ELEMENTS = 2**26  # that building may allocate however small the weights are: index sets, masks
FREE_OPERATIONS = 20_000  # that building any model may take
FREE_SIZES = 2**20  # bound on the sum of all sizes in a config, likewise
FAR = 2.0**64  # beyond any size
MODULES = 2**17  # that a model may have, shared ones counted at each occurrence


def save(model: Configurable, path: str | Path, *, extra: dict[str, Any] | None = None) -> None:
    """Writes the present state of a model to a directory; a model already there is replaced atomically.

    Parts may have been replaced, added, removed or frozen since the model was made. Before anything is written, the
    model is rebuilt from its description and compared with the original; anything the file cannot restore is refused.

    Args:
        model: A flow or any other configurable module, on any device.
        path: The directory.
        extra: Anything that JSON can hold, to be read back with :func:`load_extra`.

    Raises:
        TypeError: the model, or something inside it, is not ``Configurable``; or ``extra`` is not JSON.
        ValueError: ``path`` exists and is not a model; or the model was changed in a way that no file can hold.
        OSError: the disk is full, or the directory is not writable; its previous content is kept.
    """
    if not isinstance(model, Configurable):
        raise TypeError(f"model must be a flow or another configurable module, got {type(model).__name__}")
    path = Path(path).resolve()
    if path.exists() and not _may_replace(path):
        raise ValueError(f"{path} exists and is not a saved model: choose another path, or remove it first")
    config = {"format": FORMAT, "pushforward": __version__, **_content(model), "extra": {} if extra is None else extra}
    write_bundle(path, "model", config, model.state_dict())


def load(path: str | Path, *, device: str | torch.device = "cpu") -> Any:
    """Reads a model that :func:`save` wrote, in evaluation mode; its ``log_prob`` is bit-for-bit the same.

    Args:
        path: The directory.
        device: Device for the model.

    Raises:
        CheckpointError: a file is missing, damaged, or does not match the other; one sentence that names it.
    """
    path = Path(path)
    config = _config(path)
    state = read_tensors(path, "model", config)
    model, state = _build(config, path / "config.json", state)
    _compare(model.state_dict(), state, path / "model.safetensors")
    model.load_state_dict(state)
    return model.to(device).eval()


def load_extra(path: str | Path) -> dict[str, Any]:
    """The ``extra`` that was passed to :func:`save`, without reading the weights.

    Raises:
        CheckpointError: the config is missing or damaged.
    """
    return _config(Path(path))["extra"]


def _may_replace(path: Path) -> bool:
    """Whether it is empty or written by this library: other programs use the same two file names."""
    if not path.is_dir():
        return False
    if not any(path.iterdir()):
        return True
    try:
        return "pushforward" in read_config(path)
    except CheckpointError:
        return False


def _content(model: Configurable) -> dict[str, Any]:
    """The config of a model: how to build it, its dtypes, and which parameters are frozen.

    Raises:
        TypeError: something inside the model is not ``Configurable``.
        ValueError: the model differs from what its description builds.
    """
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    names = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    main = next((str(p.dtype).removeprefix("torch.") for p in model.parameters()), "float32")
    try:
        content = {
            "model": describe(model),
            "dtype": main,
            "other_dtypes": {name: dtype for name, dtype in names.items() if dtype != main},
            "frozen": [name for name, parameter in model.named_parameters() if not parameter.requires_grad],
        }
        with torch.random.fork_rng(devices=[]):
            found = difference(model, _fresh(content))
    except (TypeError, NotImplementedError):
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        found = f"building it from its description fails: {reason}"
    if found:
        raise ValueError(f"the model has been changed in a way that cannot be saved: {found}")
    return content


def _fresh(content: dict[str, Any]) -> Configurable:
    """The model that a config describes, freshly initialised."""
    model = build(content["model"])
    if not isinstance(model, Configurable):
        raise ValueError(f"'model' should describe a module, got {type(model).__name__}")
    exact = {name: tensor.data for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    model.to(dtype_named(content["dtype"]))
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    if content.get("format", FORMAT) < 3:
        content = {**content, **present_names(model, content, tensors)}
    for name, dtype in content["other_dtypes"].items():
        tensors[name].data = exact[name].to(dtype_named(dtype))
    for name in content.get("frozen", ()):
        tensors[name].requires_grad_(False)
    return model


def _config(path: Path) -> dict[str, Any]:
    config, file = read_config(path), path / "config.json"
    version = config.get("format")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise CheckpointError(f"{file} is damaged: format should be a number, got {version!r:.50}")
    if version > FORMAT:
        raise CheckpointError(
            f"{file} has format {version}, and this pushforward ({__version__}) reads up to {FORMAT}: "
            f"install the version that wrote it, {config.get('pushforward')!r:.50}, or a newer one"
        )
    for key, kind in (("extra", dict), ("dtype", str), ("other_dtypes", dict)):
        if not isinstance(config.get(key), kind):
            raise CheckpointError(f"{file} is damaged: {key!r} is missing or of the wrong kind")
    return config


def _build(config: dict[str, Any], path: Path, state: dict[str, Tensor]) -> tuple[Configurable, dict[str, Tensor]]:
    """The model of a config, freshly initialised, and its tensors in the current format; any error inside is blamed on
    the config."""
    _import_all()
    elements = sum(tensor.numel() for tensor in state.values())
    try:
        if _sizes(config.get("model")) > FREE_SIZES + 4 * elements or _modules(config.get("model"), {}) > MODULES:
            raise ValueError(TOO_LARGE)
        with (
            torch.random.fork_rng(devices=[]),
            watch_operators(_Bound(FREE_ELEMENTS + 16 * elements, FREE_OPERATIONS + 16 * elements)),
        ):
            version = config["format"]
            config, state = upgrade(config, state)
            model = _fresh(config)
            if version < 3:
                state = with_orders(model, state)
            return model, unpack(model, state) if version < 2 else state
    except (Exception, RecursionError) as error:
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise CheckpointError(f"{path} describes a model that cannot be built: {reason}") from None


def _compare(expected: dict[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        what = f"lacks the tensor {missing[0]!r}" if missing else f"has an unexpected tensor {unexpected[0]!r}"
        raise CheckpointError(f"{path} does not fit config.json: it {what}")
    for name, tensor in expected.items():
        for kind in ("shape", "dtype"):
            want, got = getattr(tensor, kind), getattr(found[name], kind)
            if want != got:
                raise CheckpointError(f"{path} does not fit config.json: {name!r} has {kind} {got}, expected {want}")


def _import_all() -> None:
    """Imports the modules of all classes that a config may name, which registers them."""
    for room in ("transforms", "nets", "distributions"):
        package = importlib.import_module(f"pushforward.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"pushforward.{room}.{module.name}")


def _sizes(value: Any) -> int:
    """The sum of the integers in a description: widths and the like, but not lists of indices."""
    if isinstance(value, dict):
        return sum(_sizes(item) for item in value.values())
    if isinstance(value, list):
        indices = all(isinstance(item, int) and 0 <= item < len(value) for item in value)
        return 0 if indices else sum(_sizes(item) for item in value)
    return abs(value) if isinstance(value, int) else 0


def _modules(value: Any, shared: dict[Any, int]) -> int:
    """How many modules a description builds, shared ones counted at each occurrence: few lines can ask for billions."""
    if isinstance(value, list):
        return sum(_modules(item, shared) for item in value)
    if not isinstance(value, dict):
        return 0
    if "again" in value:
        return shared[value["again"]]
    count = int("type" in value or "layer" in value) + sum(_modules(item, shared) for item in value.values())
    if "shared" in value:
        shared[value["shared"]] = count
    return count


class _Bound:
    """Refuses an operation before it allocates, once all results together exceed a number of elements, or once there
    have been more operations than any valid model needs: tensors in place of sizes make loops run for very long.

    An operation that could exceed what is left is tried on the meta device first, where tensors have shapes and no
    memory. Few are: for many, PyTorch imports its compiler there, which takes a second and 80 MB.
    """

    def __init__(self, elements: int, operations: int) -> None:
        self.left, self.operations = elements, operations

    def __call__(self, operator: Any, args: Any, kwargs: Any) -> Any:
        self.operations -= 1
        new = not writes(operator) and not operator.is_view
        large = new and _most([*args, *kwargs.values()], takes_device(operator)) > self.left
        if self.operations < 0 or (large and _elements(operator, args, kwargs) > self.left):
            raise ValueError(TOO_LARGE)
        result = operator(*args, **kwargs)
        self.left -= sum(tensor.numel() for tensor in _tensors(result)) if new else 0
        return result


def _most(given: Sequence[Any], makes: bool) -> float:
    """More numbers than an operation can return: all sizes that it is given, each and one for what is empty or padded,
    multiplied; numbers count twice, as an identity matrix has the square of its size, and small ones as their inverse
    if it makes tensors of none, as in a range."""
    most = 1.0
    for value in given:
        sizes = value.shape if isinstance(value, Tensor) else value
        if isinstance(sizes, list | tuple) and all(isinstance(size, int) for size in sizes):
            most = math.prod((abs(size) + 1 for size in sizes), start=most)
        elif isinstance(sizes, list | tuple):
            most *= _most(sizes, makes)
        elif isinstance(sizes, int | float) and sizes and math.isfinite(sizes):
            most *= min(max(abs(sizes), 1 / abs(sizes) if makes else 1), FAR) ** 2
    return most


def _elements(operator: Any, args: Any, kwargs: Any) -> int:
    """How many numbers an operation would return, or read: a view of many may need no memory, and takes as long."""
    args, kwargs = _on_meta(args), _on_meta(kwargs)
    read = sum(tensor.numel() for tensor in _tensors((args, kwargs)))
    if takes_device(operator):
        kwargs = {**kwargs, "device": "meta"}
    try:
        return max(read, sum(tensor.numel() for tensor in _tensors(operator(*args, **kwargs))))
    except Exception:  # it depends on values, which meta tensors lack, or it will really fail
        return read


def _on_meta(value: Any) -> Any:
    """The same with tensors that have shapes and no memory."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {key: _on_meta(item) for key, item in value.items()}
    return type(value)(map(_on_meta, value)) if type(value) in (list, tuple) else value


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)
