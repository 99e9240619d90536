"""Densities in machine code: the same methods, without Python's overhead."""

from __future__ import annotations

import json
import platform
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..distributions.base import Density, batch_of_draws
from ..numerics.torch_internals import ahead_of_time, machine_code
from ..objectives.target import with_gradients
from ..saving.checkpoint import load, save

FOLDER = "pushforward"  # of our own files within a .pt2 file
FEW = 128

Run = Callable[..., list[Tensor]]


class Compiled:
    """A density whose methods run in machine code; what has none runs as in the density itself.

    Made by :func:`load_compiled`.

    Attributes:
        density: The density.
        methods: What runs in machine code: some of ``log_prob``, ``sample`` and ``gradient``.
        few: Events up to which it does; a processor mostly takes longer for the products of more than for Python.
    """

    def __init__(self, density: Density, programs: dict[str, Run], inputs: Mapping[str, Sequence[str]]) -> None:
        self.density = density.eval().requires_grad_(False)
        self.event_shape, self.context_features = density.event_shape, density.context_features
        self._programs, self._inputs, self.few = programs, inputs, FEW
        self._kind = density._dtype() or torch.float32, density.device

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self._programs)

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_prob(x, context)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) in nats, of shape ``(*batch,)``; differentiable with respect to x and the context.

        Raises:
            ValueError: shapes, dtypes or devices do not fit.
        """
        given = [x] if context is None else [x, context]
        graph = torch.is_grad_enabled() and any(each.requires_grad for each in given)
        method = "gradient" if graph else "log_prob"
        run = self._chosen(method, x.numel() // max(self.event_shape.numel(), 1))
        if run is None:
            return self.density.log_prob(x, context)
        x, context = self.density._check(x, context) if self.density.encoder is None else (x, context)
        batch = x.shape[: x.dim() - len(self.event_shape)]
        inputs = self._rows(method, x, context, batch)
        log_prob, *gradients = run(*(each.detach() for each in inputs))
        return (with_gradients(log_prob, gradients, *inputs) if graph else log_prob).view(batch)

    @torch.no_grad()
    def sample(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Draws of shape ``(*shape, *context batch, *event)``, the same as the density's own."""
        flow: Any = self.density
        given = context if flow.encoder is None else None  # before it is encoded, its shape tells nothing
        run = self._chosen("sample", batch_of_draws(shape, given).numel())
        if run is None:
            return flow.sample(shape, context, generator=generator, temperature=temperature)
        z, context = flow._noise(shape, context, generator, temperature)
        batch = z.shape[: z.dim() - len(flow.base.event_shape)]
        return run(*self._rows("sample", z, context, batch))[0].view(*batch, *self.event_shape)

    def _chosen(self, method: str, events: int) -> Run | None:
        """The program of a method; None where the density itself is faster, or is needed."""
        few = events <= self.few or self._kind[1].type != "cpu"
        return self._programs.get(method) if events and few else None

    def _rows(self, method: str, x: Tensor, context: Tensor | None, batch: torch.Size) -> list[Tensor]:
        """Inputs as a program takes them: ``(n, *event)`` and ``(n, context features)``, contiguous."""
        given = [x.reshape(-1, *x.shape[len(batch) :])]
        if context is not None:
            given.append(context.expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1]))
        dtype, device = self._kind
        for name, told, each in zip(("x", "context"), self._inputs.get(method, (dtype,) * 2), given, strict=False):
            if (str(each.dtype), each.device) != (str(told), device):  # machine code would not notice
                raise ValueError(f"{name} is {each.dtype} on {each.device}, but the program is for {told} on {device}")
        return [each.contiguous() for each in given]


def load_compiled(path: str | Path) -> Compiled:
    """Loads what :func:`~pushforward.export` wrote to a ``.pt2`` file, to run it in machine code.

    The code runs on the kind of processor and the version of PyTorch that it was compiled for; elsewhere, a warning
    says so, and the methods run as those of the density. Unlike :func:`~pushforward.load`, this runs code from the
    file: load files only from people you trust.

    Args:
        path: The file.

    Returns:
        An object with ``log_prob`` and ``sample``, as a flow has them.

    Raises:
        ValueError: the file holds no density with machine code.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as folder:
        about = _unpack(path, Path(folder))
        density = load(Path(folder) / "density")
        if about["machine"] != _machine():
            warnings.warn(f"{path} was compiled for {about['machine']}, but this is {_machine()}", stacklevel=2)
            return Compiled(density, {}, {})
        programs = {name: machine_code(f"{folder}/{name}.pt2") for name in about["methods"]}
        return Compiled(density, programs, about.get("inputs", {}))


def add_compiled(path: Path, density: Density, programs: dict[str, torch.export.ExportedProgram]) -> str | None:
    """Adds machine code for the programs of a density, and the density itself, to a .pt2 file; returns what has none,
    and why: what cannot be compiled, or is compiled wrongly, as PyTorch 2.15 does the samplers of masked flows."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, program in programs.items():
                ahead_of_time(program, f"{folder}/{name}.pt2")
        except RuntimeError as error:
            return f"no machine code: {error}"
        wrong = [name for name, program in programs.items() if not _agrees(program, f"{folder}/{name}.pt2")]
        for name in wrong:
            Path(f"{folder}/{name}.pt2").unlink()
        save(density, Path(folder) / "density")
        inputs = {name: [str(each.dtype) for each in one.example_inputs[0]] for name, one in programs.items()}
        about = {"methods": [name for name in programs if name not in wrong], "machine": _machine(), "inputs": inputs}
        (Path(folder) / "about.json").write_text(json.dumps(about))
        with zipfile.ZipFile(path, "a") as archive:
            root = archive.namelist()[0].split("/")[0]
            for file in sorted(Path(folder).rglob("*")):
                if file.is_file():
                    archive.write(file, f"{root}/{FOLDER}/{file.relative_to(folder)}")
    return f"no machine code for {', '.join(wrong)}: PyTorch {torch.__version__} compiles it wrongly" if wrong else None


def _agrees(program: torch.export.ExportedProgram, path: str) -> bool:
    """Whether machine code gives what its program gives, for more rows than those of the example."""
    given = more_rows(program.example_inputs[0])
    with torch.no_grad():
        told = program.module()(*given)
        try:
            found = machine_code(path)(*given)
        except RuntimeError:
            return False
    pairs = zip(found, [told] if isinstance(told, Tensor) else told, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, atol=1e-3, rtol=1e-3, equal_nan=True) for a, b in pairs)


def more_rows(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The inputs of an example, once more than twice: another number of rows, to compare programs with."""
    return tuple(each.repeat(3, *[1] * (each.dim() - 1))[: 2 * len(each) + 1] for each in inputs)


def _unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Writes our own files of a .pt2 file to a folder, and returns what they say about themselves."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                _, inside, rest = name.partition(f"/{FOLDER}/")
                if inside and ".." not in rest:
                    (folder / rest).parent.mkdir(parents=True, exist_ok=True)
                    (folder / rest).write_bytes(archive.read(name))
            return dict(json.loads((folder / "about.json").read_text()))
    except (OSError, zipfile.BadZipFile, TypeError, ValueError):
        raise ValueError(f"path={str(path)!r} is not a .pt2 file with machine code: pf.export writes them") from None


def _machine() -> str:
    """What machine code is for."""
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return f"{platform.system()} {processor}, PyTorch {torch.__version__}"
