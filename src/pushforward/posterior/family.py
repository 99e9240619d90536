"""From a family of log-densities to one sampler for all of them, with a verdict on each context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diagnostics import Importance, importance
from ..diagnostics.peaks import Height, climb, in_noise, newton
from ..distributions.flow import Flow
from ..nets.encoders import Scaled
from ..nets.mlp import MLP
from ..objectives.divergences import ReverseKL
from ..objectives.family import Family, check_width, given
from ..objectives.user_target import LogDensity, UserTarget
from ..recipes.by_name import flow_by_name, seeded
from ..training.fit import train
from ..training.options import FitOptions
from ..transforms.base import Transform
from ..transforms.columns import Univariate
from ..transforms.normalization import Whiten
from ..transforms.scalar import Additive
from .constrain import Space, scales_at
from .exact import Chains, chains
from .target_fit import TargetFit

STARTS, MOST_STARTS = 16, 256  # contexts whose Laplace approximations define the start; 4 for each number of a context
JUDGED, OF_EACH = 64, 500  # contexts judged after training, and draws for each
SEARCHED = 4  # of them, those searched for modes that the flow misses


@dataclass(frozen=True, eq=False)
class FamilyImportance:
    r"""Importance weights of a conditional flow by context; every attribute has one entry for each.

    Attributes:
        contexts: The contexts judged, ``(K, width)``.
        ess: Effective sample size as a share of the draws, from 0 to 1.
        khat: Shape of the weights' upper tail.
        log_z: Estimate of log Z(c), in nats.
        log_z_se: Its standard error.
        kl: Estimate of KL(flow ‖ pi) given c, in nats.
        missed: The share of pi's mass found where the flow has none; NaN where no search was made, for all but 4.
        good: Whether the context can be trusted.
        trusted: Whether at least 95 % of the contexts can.
        verdict: One sentence, which names the worst context.
    """

    contexts: Tensor
    ess: Tensor
    khat: Tensor
    log_z: Tensor
    log_z_se: Tensor
    kl: Tensor
    missed: Tensor
    good: Tensor
    trusted: bool
    verdict: str

    def summary(self) -> dict[str, float | int | bool | str]:
        """The numbers, averaged, and the sentence, in a form that JSON can hold."""
        means = {"ess": float(self.ess.mean()), "kl": float(self.kl.mean()), "khat": float(self.khat.max())}
        return {"contexts": len(self.contexts), **means, "trusted": self.trusted, "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class FamilyFit(TargetFit):
    """The result of :func:`pushforward.fit_target` for a family of targets.

    Attributes:
        flow: The fitted flow, p(x | context), in the space of the parameters.
        importance: Effective sample size, k-hat, log Z and KL for each of some contexts, and a verdict on all.
        result: How training went.
        notes: Decisions made about the targets, a sentence each.
    """

    importance: FamilyImportance  # type: ignore[assignment]

    @property
    def family(self) -> Family:
        """The targets."""
        found: Any = self.result.objective
        return found.family  # type: ignore[no-any-return]

    def judge(self, context: Tensor, n: int = 10_000, *, generator: torch.Generator | None = None) -> Importance:
        """:func:`pushforward.diagnostics.importance` of one context, ``(width,)``.

        Raises:
            ValueError: the context has another width.
        """
        return importance(*self._given(context), n, generator=generator)

    def draws(  # type: ignore[override]
        self, n: int, context: Tensor, *, exact: bool | str = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws for one context, ``(n, features)``, as for a :class:`TargetFit`.

        Raises:
            ValueError: the context has another width, or an argument is out of range.
        """
        if exact is False:
            return self._given(context)[0].sample((n,), generator=generator)
        return self.chains(n, context, method="metropolis" if exact is True else exact, generator=generator).draws[:n]

    def chains(  # type: ignore[override]
        self,
        n: int,
        context: Tensor,
        *,
        method: str = "metropolis",
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Chains:
        """Draws for one context as chains: :func:`pushforward.posterior.exact.chains`."""
        return chains(*self._given(context), n, method=method, generator=generator, **options)

    def _given(self, context: Tensor) -> tuple[Flow, LogDensity]:
        """The flow and the target of one context."""
        target = self.family.given(context)
        return given(self.flow, context.to(next(self.flow.parameters()))), target


def fit_family(
    family: Family,
    space: Space,
    *,
    flow: str | Flow,
    sizes: dict[str, Any],
    start: str,
    widen: float,
    options: dict[str, Any],
    training: FitOptions,
) -> FamilyFit:
    """The part of :func:`pushforward.fit_target` for families; its arguments are explained there.

    Raises:
        ValueError: contexts do not fit the flow, or the log-density violates its contract.
    """
    seed, like = training.steps.seed, torch.zeros((), dtype=space.dtype)
    with seeded(seed):  # for contexts drawn with PyTorch's global generator
        if isinstance(flow, str):
            scaled = {"encoder": context_scale(family, like)}
            flow = flow_by_name(flow, space.free, context=family.width, **sizes, options=scaled)
        check_width(flow, family.width)
        outer = family_start(flow, family, space, widen) if start == "laplace" else space.wide(widen)
        flow = flow.behind(outer, event_shape=(family.features,)).to(space.dtype)
        target: Any = family
        loss = ReverseKL(flow, target, contexts=family.contexts, **options)
    result = train(loss, training)
    assert loss.family is not None
    with seeded(seed):
        generator = torch.Generator(flow.device).manual_seed(seed)
        found = judged(flow, loss.family, generator)
    notes = loss.log_density.notes if isinstance(loss.log_density, UserTarget) else ()
    return FamilyFit(flow, found, result, notes=tuple(notes))


def judged(flow: Flow, family: Family, generator: torch.Generator, contexts: int = JUDGED) -> FamilyImportance:
    """Weights draws for each of some contexts, and searches a few of them for missed modes."""
    drawn = family.draw(contexts, next(flow.parameters()))
    found = [
        importance(given(flow, c), family.given(c), OF_EACH, starts=20 * (k < SEARCHED), generator=generator)
        for k, c in enumerate(drawn)
    ]
    numbers = {
        name: torch.tensor([getattr(one, name) for one in found], dtype=torch.float64)
        for name in ("khat", "log_z", "log_z_se", "kl", "missed")
    }
    good = torch.tensor([one.trusted for one in found])
    ess = torch.tensor([one.ess / OF_EACH for one in found], dtype=torch.float64)
    trusted = float(good.double().mean()) >= 0.95
    return FamilyImportance(
        contexts=drawn,
        ess=ess,
        **numbers,
        good=good,
        trusted=trusted,
        verdict=_verdict(drawn, good, ess, numbers["kl"], trusted, [one.verdict for one in found]),
    )


def _verdict(contexts: Tensor, good: Tensor, ess: Tensor, kl: Tensor, trusted: bool, said: list[str]) -> str:
    numbers = f"{int(good.sum())} of {len(good)} contexts can be trusted, KL is {float(kl.mean()):.2g} nats on average"
    worst = int(torch.where(good, 2.0, ess).argmin() if not bool(good.all()) else ess.argmin())
    place = [round(v, 3) for v in contexts[worst][:8].tolist()]
    if trusted:
        least = f"the worst context, {place}, has {ess[worst]:.0%} effective draws"
        return f"The flow is close to its targets: {numbers}, and {least}."
    return f"Do not trust this fit everywhere: {numbers}; at context {place}: {said[worst]}"


def family_start(flow: Flow, family: Family, space: Space, widen: float) -> Transform:
    r"""From x to z such that N(0, I) follows the Laplace approximations of several contexts.

    .. math:: z = L^{-1} (u - B^\top c - b),\quad L L^\top = \mathrm{widen}^2
              \tfrac1K \sum_k \left(H_k^{-1} + (u_k - B^\top c_k - b)(u_k - B^\top c_k - b)^\top\right)

    with the mode u_k and the curvature H_k of context k in the free coordinates u of x, and the linear regression of
    modes on contexts, which is trained with the flow. For a linear-Gaussian family this is the posterior.

    Raises:
        ValueError: no climb ends at a finite height, for any of the contexts.
    """
    linear = flow.encoder is None or isinstance(flow.encoder, Scaled)  # else the encoder has yet to learn its output
    many = min(max(STARTS, 4 * family.width), MOST_STARTS) if linear else STARTS
    like = torch.zeros(many, space.free, dtype=space.dtype)
    context = family.draw(many, like)

    def height(contexts: Tensor) -> Height:
        return in_noise(lambda x: family(x, contexts.expand(len(x), -1)), space.outer)

    u = climb(height(context), like, reach=0.2, steps=500)
    with torch.no_grad():
        finite = height(context)(u).isfinite()
    if not bool(finite.any()):
        raise ValueError(f"log_density is not finite where climbs end for {many} contexts: rescale the parameters")
    u, context = u[finite], context[finite]
    parts: list[Transform] = []
    modes = u
    if linear:
        shift, u = _regression(flow.to(space.dtype).encode(context), u)
        parts.append(shift)
    spread = like.new_zeros(space.free, space.free)
    for mode, c in zip(modes, context, strict=True):
        _, values, vectors = newton(height(c), mode[None], iterations=0, exact=True)
        scales = scales_at(height(c), mode[None], values[0], vectors[0])
        spread += scales @ scales.T / len(u)
    apart = u - u.mean(0)
    parts.append(Whiten(u.mean(0), widen * torch.linalg.cholesky(spread + apart.T @ apart / len(u))))
    return space.to(*parts)


def _regression(context: Tensor, modes: Tensor) -> tuple[Transform, Tensor]:
    """u - B^T c as a transform, by least squares, and the residuals of the modes."""
    centred = context - context.mean(0)
    slope = torch.linalg.lstsq(centred, modes - modes.mean(0), driver="gelsd").solution  # (width, features)
    net = MLP(0, modes.shape[1], 1, hidden=(), context=context.shape[1]).to(context.dtype)
    assert net.context_weight is not None
    with torch.no_grad():
        net.context_weight.copy_(slope.T)
        net.biases[0].zero_()
    return Univariate(net, Additive()), modes - context @ slope


def context_scale(family: Family, like: Tensor) -> Scaled:
    """Contexts in units of their spread, from 1,000 of them; a constant number is only shifted."""
    drawn = family.draw(1000, like)
    scale = drawn.std(0)
    return Scaled(drawn.mean(0), torch.where(scale > 1e-12 * (1 + drawn.mean(0).abs()), scale, 1.0))
