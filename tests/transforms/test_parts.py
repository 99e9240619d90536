"""Many rows are taken in parts where nobody wants gradients: the same numbers, whatever the context's shape."""

import pytest
import torch

import pushforward as pf
from pushforward.testing import randomize
from pushforward.transforms import base

FLOWS = {
    "nsf": lambda context: pf.nsf(3, layers=2, hidden=(8,), context=context),
    "realnvp": lambda context: pf.realnvp(3, layers=3, hidden=(8,), context=context),
    "glow": lambda context: pf.glow((1, 4, 4), levels=1, steps=1, hidden=4, context=context),
}


def everything(flow, x, context):
    with torch.no_grad():
        z, logdet = flow.transform(x, context)
        back, minus = flow.transform.inverse(z, context)
        return z, logdet, back, minus, flow.transform.generate(z, context), flow.log_prob(x, context)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rows_of_context", [None, (), (1,), (10,)])
@pytest.mark.parametrize("name", FLOWS)
def test_parts_change_nothing(name, rows_of_context, compiled, monkeypatch):
    torch.compiler.reset()
    torch.manual_seed(0)
    flow = randomize(FLOWS[name](0 if rows_of_context is None else 2).double())
    x = torch.randn(10, *flow.event_shape, dtype=torch.float64)
    context = None if rows_of_context is None else torch.randn(*rows_of_context, 2, dtype=torch.float64)
    whole = everything(flow, x, context)
    if compiled:
        flow.compile(backend="eager")
    seen = watch(monkeypatch)
    monkeypatch.setattr(base, "PART", 4)
    monkeypatch.setattr(base, "COMPILED_PART", 3)
    torch.testing.assert_close(everything(flow, x, context), whole)
    assert compiled or max(seen) == 4


def test_with_gradients_all_rows_are_one_graph(monkeypatch):
    monkeypatch.setattr(base, "PART", 4)
    seen = watch(monkeypatch)
    randomize(FLOWS["realnvp"](0)).log_prob(torch.randn(10, 3)).sum().backward()
    assert seen == [10]


def watch(monkeypatch):
    """How many rows every composition is given at once."""
    seen, forward = [], base.Compose._forward

    def watched(self, x, context):
        seen.append(len(x))
        return forward(self, x, context)

    monkeypatch.setattr(base.Compose, "_forward", watched)
    return seen
