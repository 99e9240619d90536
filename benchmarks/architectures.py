"""Which architecture learns most per second and per step: variants of recipes on many real tables, next to peers.

    python benchmarks/architectures.py FILE.npz FILE.csv FOLDER ... --trials nsf,nsf+lu,nflows --budget 20
    python benchmarks/architectures.py FILE.npz ... --trials nsf,nflows --steps 1000

A trial is a name and options joined by ``+``: ``nsf``, ``nsf-coupling``, ``maf`` or ``realnvp``, each with the
recipe's own defaults, or with another mixing of the features between layers (``reverse``, ``random``, ``lu`` or
``rotation``), ``residual``, ``feedforward`` (without residual pairs), ``zero`` (biases of zero at the start),
``transformer`` (with ``nsf`` or ``maf``: a causal transformer over the columns in place of each MADE), ``bins16``,
``bound8``, ``layers8``, ``hidden256``, ``depth3``, ``batch256``, ``rate1e-2``, ``warm500`` (steps of warm-up),
``decay1e-2`` (AdamW), ``average0.99`` (of the weights; ``average1``: as in ``pf.fit``), ``noise0.03`` (on the rows of
a batch), ``gradients0.3`` (noise on them, falling as in Neelakantan et al. 2015, arXiv:1511.06807), ``actnorm``
(before every transform), ``dropout0.1``, ``weightnorm``, ``layernorm`` (with ``nsf-coupling``: in a MADE it would
break the order), ``plain`` (without the fast room, which the last three also do without); or any other recipe with its
defaults, such as ``naf`` or ``residual``. Peers: ``nflows`` (coupling splines with LU, random permutations and
residual networks, as in the paper), ``zuko``, ``flowjax``, and any flow of zuko's with its defaults, such as
``zuko-NAF``.

All train by one loop (``measure/training.py``). With ``OMP_NUM_THREADS=1 BENCH_CLOCK=cpu`` the budget is CPU time
of the process, which a busy machine affects little. Lines are appended to ``--output``, JSON each;
``--table FILE`` prints them as a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure.held_out import PARTS, Rows, _standardised
from measure.jax_peers import JaxModel, flowjax
from measure.models import TorchModel
from measure.sizes import Size
from measure.torch_peers import zuko
from measure.training import Protocol, train_jax, train_torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import pushforward as pf
from pushforward.nets import CausalTransformer
from pushforward.nets.mlp import ACTIVATIONS, Perceptron
from pushforward.recipes.networks import MIXINGS
from pushforward.transforms import ActNorm, Autoregressive, Compose, Coupling, Transform

MOST = 200_000  # training rows
RESIDUAL = {"residual": True, "feedforward": False}  # of the networks; None by default
WITH_OPTIONS = ("nsf", "nsf-coupling", "maf", "realnvp")


def table(path: Path) -> np.ndarray:
    """The numbers of a table; columns with few values are left out, rounded ones are spread over their cells."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            _, *lines = list(csv.reader(file))
        columns = [column for column in zip(*lines, strict=True) if _is_number(column)]
        values = np.array(columns, dtype=float).T
    else:
        with np.load(path) as file:
            values = file["X"].astype(float)
    return _spread(values)


def _is_number(column: tuple[str, ...]) -> bool:
    try:
        return all(math.isfinite(float(cell)) for cell in column)
    except ValueError:
        return False


def _spread(values: np.ndarray) -> np.ndarray:
    random, kept = np.random.default_rng(0), []
    for column in values.T:
        found = np.unique(column)
        if len(found) < 20:
            continue
        cell = np.diff(found).min() if len(found) < len(column) / 2 else 0.0
        kept.append(column + cell * random.random(len(column)))
    return np.stack(kept, 1)


def rows(path: Path) -> Rows:
    """80 % of a table for training, 10 % each for validation and test; or a file or folder with such parts."""
    if path.is_dir():
        parts = [np.load(path / f"{part}.npy", mmap_mode="r")[:MOST] for part in PARTS]
        parts[1], parts[2] = parts[1][:4000], parts[2][:10_000]
    elif path.suffix == ".npz" and "train" in (file := np.load(path)):
        parts = [file[part] for part in PARTS]
    else:
        values = table(path)
        order = np.random.default_rng(1).permutation(len(values))
        parts = np.split(values[order], [int(0.8 * len(values)), int(0.9 * len(values))])
    return _standardised(*(torch.tensor(np.array(part), dtype=torch.float32) for part in parts))


def numbers(trial: str) -> dict[str, float]:
    """The options of a trial that have a number."""
    return {name: float(value) for name, value in re.findall(r"\+([a-z]+)([\d.]+(?:e-\d+)?)", trial)}


def by_name(trial: str, features: int) -> TorchModel:
    name, *options = trial.split("+")
    if name.startswith("zuko-"):
        import zuko

        peer = getattr(zuko.flows, name.removeprefix("zuko-"))(features)
        return TorchModel(peer, lambda x: peer().log_prob(x), None, None)
    if name not in WITH_OPTIONS:
        flow = getattr(pf, name)(features)
        return TorchModel(flow, flow.log_prob, None, None)
    number, coupling = numbers(trial), name == "nsf-coupling"
    residual = next((RESIDUAL[option] for option in options if option in RESIDUAL), None)
    usual = 2 if name == "realnvp" and not residual else 3
    width, depth = int(number.get("hidden", max(128, features))), int(number.get("depth", usual))
    deep: dict[str, Any] = {"hidden": (width,) * depth, "residual": residual}
    if mixing := next((option for option in options if option in MIXINGS), None):
        deep["mixing"] = mixing
    if "layers" in number:
        deep["layers"] = int(number["layers"])
    if name.startswith("nsf"):
        deep |= {"bins": int(number.get("bins", 8)), "bound": number.get("bound", 5.0), "coupling": coupling}
    flow = getattr(pf, name.split("-")[0])(features, **deep)
    if "transformer" in options:
        for layer in flow.transform:
            if isinstance(layer, Autoregressive):
                sizes = {"layers": 2, "width": int(number.get("hidden", 64)), "heads": 4}
                layer.net = CausalTransformer(features, layer.scalar.num_params, **sizes)
    if "zero" in options:
        for parameter_name, parameter in flow.named_parameters():
            if ".biases." in parameter_name:
                nn.init.zeros_(parameter)
    if "actnorm" in options:
        parts: list[Transform] = []
        for t in flow.transform:
            parts += [ActNorm(features), t] if isinstance(t, (Autoregressive, Coupling)) else [t]
        flow = pf.Flow(Compose(parts), features)
    return regularised(flow, options, number)


def regularised(flow: pf.Flow, options: list[str], number: dict[str, float]) -> TorchModel:
    """The flow with regularised networks: dropout, normalised units or normalised weights."""

    def dropout(h: Tensor) -> Tensor:
        return F.dropout(F.relu(h), number["dropout"], training=torch.is_grad_enabled())

    def layernorm(h: Tensor) -> Tensor:
        return F.relu(F.layer_norm(h, h.shape[-1:]))

    ways = {"dropout": dropout, "layernorm": layernorm}
    chosen = next((way for way in ways if way in number or way in options), None)
    networks = [module for module in flow.modules() if isinstance(module, Perceptron)]
    for network in networks:
        if chosen:
            ACTIVATIONS[chosen] = ways[chosen]
            network.activation = chosen
        if "weightnorm" in options:
            for k in range(len(network.weights) - 1):
                weight_norm(network.weights, str(k))
    if not (chosen or "weightnorm" in options or "plain" in options):
        return TorchModel(flow, flow.log_prob, None, None)

    def plain(x: Tensor) -> Tensor:
        with pf.plain():
            return flow.log_prob(x)

    return TorchModel(flow, plain, None, None)


def nflows(trial: str, features: int) -> TorchModel:
    """Durkan et al. (2019): random permutation and LU, coupling spline with a residual network, and a final LU."""
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import ResidualNet

    number = numbers(trial)
    width, parts = int(number.get("hidden", max(128, features))), []

    def mix() -> list[Any]:
        return [transforms.RandomPermutation(features), transforms.LULinear(features, identity_init=True)]

    for layer in range(int(number.get("layers", 5))):
        parts += [
            *mix(),
            transforms.PiecewiseRationalQuadraticCouplingTransform(
                (torch.arange(features) + layer) % 2,
                lambda inputs, outputs: ResidualNet(inputs, outputs, width, num_blocks=2),
                num_bins=int(number.get("bins", 8)),
                tails="linear",
                tail_bound=number.get("bound", 5.0),
            ),
        ]
    flow = flows.Flow(transforms.CompositeTransform([*parts, *mix()]), distributions.StandardNormal([features]))
    return TorchModel(flow, flow.log_prob, None, None)


def run(path: Path, trial: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    data = rows(path)
    torch.manual_seed(seed)
    family = trial.split("+")[0]
    size = Size(data.features, (max(128, data.features),) * 2, 5)
    if family == "nflows":
        model: Any = nflows(trial, data.features)
    elif family == "zuko":
        model = zuko("nsf", size)
    elif family == "flowjax":
        model = flowjax("nsf", size)
    else:
        model = by_name(trial, data.features)
    number = numbers(trial)
    rate = number.get("rate", options.rate)
    batch = min(int(number.get("batch", 512)), len(data.train) // 2)
    ways = {name: number[name] for name in ("decay", "average", "noise", "gradients", "warm") if name in number}
    protocol = Protocol(options.budget, lr=rate, seed=seed, steps=options.steps, batch=batch, **ways)
    trained = train_jax(model, data, protocol) if isinstance(model, JaxModel) else train_torch(model, data, protocol)
    return {
        "data": path.stem,
        "rows": len(data.train),
        "features": data.features,
        "trial": trial,
        "rate": rate,
        "budget": options.steps or options.budget,
        "unit": "steps" if options.steps else "seconds",
        "seed": seed,
        "test": round(float(trained.test.double().mean()), 4),
        "error": round(float(trained.test.std()) / len(trained.test) ** 0.5, 4),
        "validation": round(max(value for _, value in trained.curve), 4),
        "steps": trained.steps,
        "seconds": round(trained.seconds, 1),
        "note": trained.note,
    }


def shown(lines: list[dict[str, Any]]) -> str:
    """One table per budget: rows are data sets, columns trials, cells test nats; the last line has mean differences."""
    parts = []
    for unit, budget in sorted({(line["unit"], line["budget"]) for line in lines}):
        chosen = [line for line in lines if (line["unit"], line["budget"]) == (unit, budget)]
        trials = list(dict.fromkeys(f"{line['trial']} {line['rate']:g}" for line in chosen))
        cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for line in chosen:
            cells[f"{line['data']} ({line['rows']} x {line['features']})"][f"{line['trial']} {line['rate']:g}"].append(
                line["test"]
            )
        first = trials[0]
        out = [f"\n**{budget:g} {unit}**\n", f"| | {' | '.join(trials)} |", "|---" * (len(trials) + 1) + "|"]
        for name, row in cells.items():
            out.append(f"| {name} | " + " | ".join(f"{np.mean(row[t]):.3f}" if t in row else "" for t in trials) + " |")
        means = []
        for trial in trials:
            both = [
                np.mean(row[trial]) - np.mean(row[first]) for row in cells.values() if trial in row and first in row
            ]
            means.append(f"{np.mean(both):+.3f} ({sum(d > 0 for d in both)}/{len(both)})" if both else "")
        out.append(f"| mean gain (wins) | {' | '.join(means)} |")
        parts.append("\n".join(out))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--trials", default="nsf,nsf-coupling,nflows")
    parser.add_argument("--budget", type=float, default=20.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("architectures.jsonl"))
    parser.add_argument("--table", type=Path, nargs="*", help="print the table of such files")
    options = parser.parse_args()
    if options.table:
        print(shown([json.loads(line) for path in options.table for line in path.read_text().splitlines()]))
        return
    torch.set_num_threads(1)
    for path in options.paths:
        for seed in range(options.seeds):
            for trial in options.trials.split(","):
                line = json.dumps(run(path, trial, options, seed))
                print(line, flush=True)
                with options.output.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
