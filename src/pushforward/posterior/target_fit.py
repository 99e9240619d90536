"""A flow fitted to a log-density: its draws, and whether they can be trusted."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from ..diagnostics import Importance
from ..distributions.flow import Flow
from ..objectives.user_target import TargetWarning
from ..training.fit import Result
from .exact import Chains, chains
from .modes import Modes

CLOSE = 0.6  # acceptance rate of the flow's proposals above which Metropolis is the cheaper method


@dataclass(frozen=True, eq=False)
class TargetFit:
    """The result of :func:`fit_target`.

    Attributes:
        flow: The fitted flow, in the space of the parameters.
        importance: Effective sample size, k-hat, log Z with its error, and the verdict.
        result: How training went.
        modes: The modes found by a search, None if there was no search.
        notes: Decisions about the target, a sentence each: its form, failing rows, density outside its support.
    """

    flow: Flow
    importance: Importance
    result: Result
    modes: Modes | None = None
    notes: tuple[str, ...] = ()

    def draws(
        self, n: int = 1000, *, exact: bool | str = False, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Draws, ``(n, features)``, in the space of the parameters.

        Args:
            n: How many.
            exact: False: of the flow as it is. True: exact in the limit, by Metropolis from the flow if it is close
                enough for that, else by Hamiltonian Monte Carlo; or one of ``"metropolis"``, ``"hmc"`` and
                ``"resampling"``. Warns if the chains have not converged, provided arviz-stats is installed.
            generator: Source of the randomness.

        Raises:
            ValueError: an argument is out of range.
        """
        if exact is False:
            return self.flow.sample((n,), generator=generator)
        found = self.chains(n, method=None if exact is True else exact, generator=generator)
        with contextlib.suppress(ImportError):
            if not found.trusted:
                warnings.warn(found.verdict, TargetWarning, stacklevel=2)
        return found.draws[:n]

    def chains(
        self, n: int = 1000, *, method: str | None = None, generator: torch.Generator | None = None, **options: Any
    ) -> Chains:
        """The same draws as chains, with their acceptance, R-hat and effective sample sizes.

        Args:
            n: Draws of all chains together, rounded up to a multiple of their number.
            method: As ``exact`` above; by default Metropolis from the flow, and Hamiltonian Monte Carlo if the flow is
                not trusted, or fewer than 60 % of its draws are accepted.
            generator: Source of the randomness.
            options: ``chains``, ``warmup`` and ``chunk`` of :func:`pushforward.posterior.exact.chains`.
        """
        options |= {"generator": generator}
        target: Any = self.result.objective.log_density
        if method is None and self.importance.trusted:
            found = chains(self.flow, target, n, method="metropolis", **options)
            if found.acceptance is not None and found.acceptance >= CLOSE:
                return found
        return chains(self.flow, target, n, method=method or "hmc", **options)
