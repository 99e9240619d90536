"""Trains in two processes and in one, and compares; a test runs it in an interpreter of its own.

The processes are forked after PyTorch is imported, and get the variables that ``torchrun`` would set.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import torch
import torch.distributed.fsdp  # once, for all that are forked
from torch.nn.parallel import DistributedDataParallel

import pushforward as pf
from pushforward.objectives.divergences import Objective
from pushforward.training import fit
from pushforward.training.distributed import divided

OPTIONS = {"steps": 20, "lr": 1e-2, "batch_size": 64, "validate_every": 5, "progress": False}


class Draws(Objective):
    """Reverse KL to N(0, I)."""

    uses_data = False

    def forward(self, n):
        return self.held_out(n).mean()

    def held_out(self, n):
        x, log_q = self.flow.rsample_and_log_prob((n,))
        return log_q + x.square().sum(-1) / 2


class Stream:
    """The same rows as a stream, in pieces that end inside batches."""

    rows = 400

    def read(self, epoch, start):
        order = torch.randperm(400, generator=torch.Generator().manual_seed(epoch))
        yield from ((piece, None) for piece in rows()[order][start:].split(90))

    def identity(self):
        return 1


def flow():
    torch.manual_seed(0)
    model = pf.realnvp(2, layers=2, hidden=(8,))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def spline_flow():
    torch.manual_seed(1)
    return pf.nsf(2, layers=2, hidden=(8,), bins=4)


def image_flow():
    torch.manual_seed(2)
    return pf.tarflow((1, 2, 4), patch=2, blocks=2, layers=1, width=8, heads=2)


def rows():
    return torch.randn(400, 2, generator=torch.Generator().manual_seed(1)) * 2 + 1


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(folder: Path) -> dict:
    """What each process does; the paths are the same for both."""
    model, drawn, timed, streamed = flow(), flow(), flow(), flow()
    disk = {"metrics": folder / "metrics.jsonl", "checkpoint": folder / "state", "checkpoint_every": 10}
    result = pf.fit(model, rows(), **OPTIONS, **disk)
    pf.fit(Draws(drawn), **OPTIONS)
    pf.fit(streamed, Stream(), validation=rows()[:100], **OPTIONS | {"batch_size": 50})
    budget = pf.fit(timed, rows(), budget=0.3, progress=False)
    return {
        "weights": weights(model),
        "losses": torch.tensor([line["validation_loss"] for line in result.history]),
        "train": torch.tensor([line["train_loss"] for line in result.history[1:]]),
        "drawn": weights(drawn),
        "streamed": weights(streamed),
        "timed": weights(timed),
        "steps": torch.tensor(budget.steps),
        **run_divided(folder),
    }


def run_divided(folder: Path) -> dict:
    """Training with divided weights, stopped after 15 steps and resumed."""
    shares = []

    def watched(objective, device):
        copy = divided(objective, device)
        mine, every = (
            sum(n) for n in zip(*((p.to_local().numel(), p.numel()) for p in copy.parameters()), strict=True)
        )
        shares.append(mine / every)
        return copy

    fit.divided = watched
    disk = {"checkpoint": folder / "divided", "checkpoint_every": 15, "shard": True, "ema": 0.5}
    for steps in (15, 20):
        model = spline_flow()
        result = pf.fit(model, rows(), **OPTIONS | disk | {"steps": steps})
    assert result.steps == 20
    assert type(model) is pf.Flow
    assert all(0.4 < share < 0.6 for share in shares), shares
    pf.save(model, folder / f"model{os.environ.get('RANK', '')}")
    losses = torch.tensor([line["validation_loss"] for line in result.history])
    images = rows()[:, :, None, None].expand(-1, 2, 2, 2).reshape(-1, 1, 2, 4)
    learnt = pf.fit(image_flow(), images, shard=True, **OPTIONS)
    image_losses = torch.tensor([line["validation_loss"] for line in learnt.history])
    found = {"divided": weights(model), "divided_losses": losses, "divided_images": image_losses}
    return {**found, "times_divided": torch.tensor(len(shares))}


def gradient(rank: int) -> torch.Tensor:
    """Of the likelihood of 64 rows, half of them on each process."""
    model = flow()
    objective = DistributedDataParallel(pf.ForwardKL(model))  # has to outlive the backward pass
    objective(rows()[rank:64:2]).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def main(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    torch.compiler.reset()  # imports the compiler, as the first optimiser does: once, for all that are forked
    children = []
    for rank in (0, 1):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
            torch.save(run(folder) | {"gradient": gradient(rank)}, folder / f"rank{rank}")
            os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]

    first, second = (torch.load(folder / f"rank{rank}", weights_only=True) for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name} differs between the processes"
    alone = folder / "alone"
    alone.mkdir()
    joint = run(alone)
    model = flow()
    pf.ForwardKL(model)(rows()[:64]).backward()
    joint["gradient"] = torch.cat([p.grad.flatten() for p in model.parameters()])
    for name in ("gradient", "losses", "train", "weights", "streamed", "divided", "divided_losses", "divided_images"):
        torch.testing.assert_close(first[name], joint[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    for name in ("metrics.jsonl", "state/step-00000020/config.json"):
        assert (folder / name).stat().st_size > 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == len(first["losses"])
    assert first["times_divided"] == 3
    print("two processes learn what one learns")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
