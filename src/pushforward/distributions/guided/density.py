"""Arbitrary queries to a joint density: marginals, conditionals and missing entries, by draws from a guide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ...numerics.hashed import row_keys
from ...numerics.partly_known import partly_known
from ...numerics.sequential import effective, next_power, picked, resampled
from ..base import Density, Generator
from .anyorder import AnyOrder
from .holes import EVERY, WIDE, Answer, RowsWithHoles, Weights, normal, pieces
from .recall import Recall
from .region import Inside, Region

Spread = Callable[[Tensor, Tensor], Tensor]
BATCH = 1 << 15  # points evaluated at once
SHARED = 50.0  # effective candidates for draws, at least; or two for each draw, or half of all, if that is fewer
FEW = 10.0  # effective draws below which more are taken
LARGE_ERROR = 0.05  # nats; likewise
TRIED, FIRST, PROMISING = 16, 32, 4.0  # draws of the joint are tried on a 16th of them, and go on if four are effective


class Guided(Density):
    r"""A joint density p with a guide q, which models any entries given any others.

    The joint is authoritative: complete rows have its density. Integrals without a closed form are estimated by
    weighted draws from the guide: with the holes h of a row drawn from q(h | seen),

    .. math:: \log p(\mathrm{seen}) \approx \log \frac1K \sum_k w_k,\quad
              w_k = \frac{p(\mathrm{seen}, h_k)}{q(h_k \mid \mathrm{seen})}

    and a draw of p(h | seen) is one of the h_k, chosen in proportion to its weight. The draws come from a scrambled
    Sobol sequence shifted by a hash of the row; one in eight has noise half as wide again, so that weights stay bounded
    if the joint has heavier tails. Rows with few effective draws get more of them. An answer depends only on the row
    and the seed.

    Args:
        joint: The density of complete rows.
        guide: The model of the conditionals, over the same entries and context.
        tell: Pairs of entries (j, k), where k is 1 in rows that lack j: there the guide draws j as if k were 0.

    Raises:
        ValueError: joint and guide do not fit each other.

    Reference:
        Owen (2013), Monte Carlo theory, methods and examples, chapter 9; Rubin (1988), sampling-importance-resampling.
    """

    def __init__(self, joint: Density, guide: AnyOrder, tell: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        self._spread: Spread | None = None  # rows ``(K, n, features)`` and uniform numbers to points of the rows' cells
        mine, its = (joint.event_shape, joint.context_features), (guide.event_shape, guide.context_features)
        if mine != its:
            shapes = f"{tuple(mine[0])} and context={mine[1]}, but guide has {tuple(its[0])} and context={its[1]}"
            raise ValueError(f"joint has events of shape {shapes}")
        self.joint, self.guide, self.tell = joint, guide, tuple((int(j), int(k)) for j, k in tell)
        self.event_shape, self.context_features = mine

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) of complete rows in nats: that of the joint. See :meth:`marginal` for rows with holes."""
        return self.joint.log_prob(x, context)

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """Draws of the joint."""
        return self.joint._generate(batch, context, generator, temperature)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.joint.initialize(x, context)
        self.guide.initialize(x, context)

    @cached_property
    def _recall(self) -> Recall | None:
        """The groups that the joint knows, if any."""
        return Recall.of(self.joint, self.guide.classes)

    @torch.no_grad()
    def marginal(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        draws: int = 32,
        most: int = 512,
        seed: int = 0,
        region: Region | None = None,
        precise: float = LARGE_ERROR,
        points: float = math.inf,
        replicates: int = 1,
        counts: Callable[[Tensor, Tensor], Tensor] = lambda value, error: error,
        allowed: Callable[[Tensor, Tensor], Tensor] | None = None,
        closed_forms: bool = True,
    ) -> Answer:
        """log p(the entries that are not NaN | context) of every row; with a region, that the others are in it, too.

        It is exact if there is nothing to integrate out, or if the joint has this marginal in closed form
        (:meth:`~pushforward.distributions.Density.exact`: mixtures of Gaussians, and leading categories).

        Args:
            x: ``(n, features)``; NaN where an entry is to be integrated out.
            context: ``(n, context features)`` or None.
            draws: Initial K for every row.
            most: K for rows with few effective draws.
            seed: Seed of the draws.
            region: Where the entries that are NaN may lie; None for anywhere.
            precise: The standard error, in nats, from which a row gets no more draws.
            points: Draws for all rows together: what some do not need is left to others, the least certain first.
            replicates: With :data:`~.holes.REPLICATES`, standard errors are those of draws that are spread evenly;
                ``draws`` and ``most`` are then multiples of 8 for each.
            counts: The errors that are compared with ``precise``, from the answers for all rows and their errors.
            allowed: Tells which of the filled rows count, as for :meth:`fill`; None for all.
            closed_forms: Whether closed forms are used, which count all rows.

        Raises:
            ValueError: shapes do not fit.
        """
        rows = replace(self._holed(x, context, seed, region), replicates=replicates, allowed=allowed)
        weights = Weights(len(rows), rows.x.device, replicates)
        holes = rows.x.isnan()
        closed = ~holes.any(1)
        if closed_forms:
            closed |= self.joint.exact(rows.x) & ~partly_known(rows.x).any(1)
        if region is not None:
            closed &= ~(holes & region.named(rows.x)).any(1)
        plain, unit = closed & rows.still, 1 if replicates == 1 else EVERY * replicates  # known without any draw
        for some in pieces(plain, BATCH):
            weights.add(some, self._closed(rows[some], rows[some].x[None]).expand(unit, -1))
        asked, start, stop = ~plain, 0, draws
        while start < most and asked.any():
            for some in pieces(asked & closed, BATCH // (stop - start)):
                weights.add(some, self._closed(rows[some], rows[some].draws(start, stop)[0]))
            for some in pieces(asked & ~closed, BATCH // (stop - start)):
                weights.add(some, self._weigh(rows[some], *rows[some].draws(start, stop), whole=not closed_forms)[1])
            points -= (stop - start) * int(asked.sum())
            value, error, count = weights.answer()
            error = counts(value, error + (count < FEW))  # what few tell is not trusted
            asked &= (error > precise) & value.isfinite()
            start, stop = stop, min((4 if replicates == 1 else 2) * stop, most)
            if (left := points / max(stop - start, 1)) < asked.sum():
                asked[error.masked_fill(~asked, -1.0).argsort(descending=True)[int(max(left, 0)) :]] = False
        value, error, count = weights.answer()
        return Answer(value.cpu(), error.cpu(), count.masked_fill(plain, math.inf).cpu())

    @torch.no_grad()
    def fill(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        draws: int = 1,
        seed: int = 0,
        candidates: int = 32,
        most: int = 512,
        allowed: Callable[[Tensor, Tensor], Tensor] | None = None,
        region: Region | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draws the missing entries of every row given the others.

        Rows with few effective candidates take those of :meth:`balanced`, if more of them are, or temper the weights by
        a power below 1, and so draw more from the guide than from the joint.

        Args:
            x: ``(n, features)``; NaN where an entry is missing.
            context: ``(n, context features)`` or None.
            draws: Number of draws per row.
            seed: Seed of the draws; identical rows get different draws.
            candidates: Draws from the guide from which those of the joint are resampled, at least 4 for each; half of
                them mirror the other half.
            most: Draws from the guide for rows with few effective ones, which would otherwise be repeated often.
            allowed: Tells which of the filled rows ``(K, n, features)`` may be drawn, ``(K, n)``, from these and which
                entries may be drawn anywhere, ``(n, features)``.
            region: Where the entries that are NaN may lie; None for anywhere. No draw is rejected.

        Returns:
            Filled rows ``(draws, n, features)``, and the effective numbers of candidates, ``(n,)``.

        Reference:
            Koblents, Míguez (2015), A population Monte Carlo scheme with transformed weights and its application to
            stochastic kinetic models, Statistics and Computing 25.
        """
        rows = replace(self._holed(x, context, seed, region).told_apart(), allowed=allowed)
        filled = rows.x.repeat(draws, 1, 1)
        count = torch.full((len(rows),), math.inf, dtype=torch.float64)
        asked, enough = rows.x.isnan().any(1), max(FEW, draws / 4)
        size, most = (max(some + some % 2, 4 * draws) for some in (candidates, most))
        while asked.any():
            for some in pieces(asked, BATCH // size):
                found, log_w = self._weigh(rows[some], *rows[some].mirrored(size), whole=True)
                count[some.cpu()] = effective(log_w).cpu()
                tempered = next_power(log_w, min(size / 2, SHARED, 2 * draws)) * log_w
                filled[:, some] = self._taken(rows[some], found, tempered, draws)
            asked &= (count < enough).to(asked.device)
            if size >= most:
                break
            size = min(4 * size, most)
        beside = asked & (region is None) & ~partly_known(rows.x).any(1)
        for some in pieces(beside, BATCH // size):
            _, log_w = self._balanced(rows[some], max(size // TRIED, FIRST) // 2)
            if not len(some := some[effective(log_w) > PROMISING]):
                continue
            found, log_w = self._balanced(rows[some], size // 2)
            better = effective(log_w) > count[some.cpu()].to(log_w)
            taken, some = self._taken(rows[some], found, log_w, draws), some[better]
            filled[:, some], count[some.cpu()] = taken[:, better], effective(log_w)[better].cpu()
        return filled, count

    @torch.no_grad()
    def weighted(
        self, x: Tensor, context: Tensor | None = None, *, draws: int, seed: int = 0, region: Region | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draws of the guide and their log-weights, whose mean exponential estimates p(the entries that are not NaN).

        Args:
            x: ``(n, features)``; NaN where an entry is missing.
            context: ``(n, context features)`` or None.
            draws: K, for every row.
            seed: Seed of the draws.
            region: Where the entries that are NaN may lie; they are drawn before all others.

        Returns:
            Filled rows ``(K, n, features)``, and ``(K, n)`` in nats.
        """
        rows = self._holed(x, context, seed, region)
        places = torch.arange(len(rows), device=x.device).split(max(BATCH // draws, 1))
        parts = (self._weigh(rows[some], *rows[some].draws(0, draws), whole=True) for some in places)
        filled, log_w = zip(*parts, strict=True)
        return torch.cat(filled, 1), torch.cat(log_w, 1)

    @torch.no_grad()
    def balanced(self, x: Tensor, context: Tensor | None = None, *, draws: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        r"""Draws of what rows lack from guide and joint, half of each, and their log-weights, for means and shares.

        A draw (s', h) of the joint has holes h from where the joint is, however little the guide has learnt, but other
        values s' than those seen, s. With such values drawn from the guide beside its own holes, both kinds are draws
        of (s', h), and are weighted for the density p(s, h) q(s' | h):

        .. math:: w \propto \frac{p(s, h)\, q(s' \mid h)}{q(h \mid s)\, q(s' \mid h) + p(s', h)}

        Numbers known in part are taken for unknown.

        Reference:
            Veach, Guibas (1995), Optimally combining sampling techniques for Monte Carlo rendering: the balance
            heuristic.
        """
        rows = self._holed(x, context, seed)
        places = torch.arange(len(rows), device=x.device).split(max(BATCH // draws, 1))
        filled, log_w = zip(*(self._balanced(rows[some], draws // 2) for some in places), strict=True)
        return torch.cat(filled, 1), torch.cat(log_w, 1)

    def _balanced(self, rows: RowsWithHoles, half: int) -> tuple[Tensor, Tensor]:
        own, context, known = rows.points(rows.uniform(half, stream=0)), rows.context, ~rows.x.isnan()
        generator, guide = torch.Generator(own.device).manual_seed(rows.seed), self.guide
        z, more = (normal(rows.uniform(half, stream=stream)).to(guide.loc) for stream in (1, 2))
        other = self.joint.sample((half,), context, generator=generator).to(own).view(half, -1, own.shape[-1])
        drawn, log_h = guide.fill(own, z, context)
        before, log_s = guide.fill(drawn.masked_fill(known, math.nan), more, context)
        beside, other = own.where(known, other), other.expand_as(own)
        filled, before = torch.cat([drawn, beside]), torch.cat([before, other])
        log_q = [
            torch.cat(
                [log_p, guide.log_prob(some, context, given=given, order=(~given).any(0).nonzero()[:, 0].tolist())]
            )
            for log_p, some, given in ((log_h, beside, known), (log_s, other, ~known))
        ]
        log_h, log_s = (part.double().nan_to_num(nan=-math.inf) for part in log_q)
        log_w = self._log_p(filled, context) + log_s - torch.logaddexp(log_h + log_s, self._log_p(before, context))
        return rows.kept(filled, log_w.masked_fill(log_w.isnan(), -math.inf))

    @staticmethod
    def _taken(rows: RowsWithHoles, found: Tensor, log_w: Tensor, draws: int) -> Tensor:
        """Resamples ``(draws, n, features)`` of the filled rows ``(K, n, features)`` in proportion to their weights, in
        random order. They are taken evenly from those sorted by their first hole, equal ones in random order: a few
        draws of one missing value are spread as many are."""
        random = torch.randperm(len(log_w), generator=torch.Generator().manual_seed(rows.seed))
        found, log_w = found[random], log_w[random]
        first = rows.x.isnan().int().argmax(1).expand(len(found), -1)
        order = found.gather(2, first[..., None])[..., 0].argsort(dim=0, stable=True)
        taken = resampled(log_w.gather(0, order), rows.uniform(1, stream=99)[0, :, 0], draws)
        taken = taken.gather(0, rows.uniform(draws, stream=98)[..., 0].argsort(dim=0))
        return torch.where(rows.x.isnan(), picked(found, order.gather(0, taken)), rows.x)

    def _closed(self, rows: RowsWithHoles, points: Tensor) -> Tensor:
        """log p(observed entries) at points of the rows' cells ``(K, n, features)``, for rows that need no guide."""
        holed, value = points.isnan().any(-1).any(0), points.new_empty(points.shape[:2], dtype=torch.float64)
        for some, log_p in ((holed, self.joint.log_marginal), (~holed, self.joint.log_prob)):
            if some.any():
                context = None if rows.context is None else rows.context[some].expand(len(points), -1, -1)
                value[:, some] = log_p(points[:, some], context).double()
        return value.masked_fill(value.isnan(), -math.inf)  # outside a support: no density

    def _weigh(
        self, rows: RowsWithHoles, points: Tensor, z: Tensor, scale: Tensor, whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The rows filled from noise, every other time from groups that the joint knows and that fit them, and log
        p(filled row) - log of the density that the fillings come from; arguments as for :meth:`_weigh_smooth`."""
        recall = self._recall if len(z) > 1 else None
        shares = None if recall is None else recall.log_shares(rows)
        if recall is None or shares is None or shares.isnan().all():
            return rows.kept(*self._weigh_smooth(rows, points, z, scale, whole))
        fit = ~shares.isnan().any(1)
        filled, log_w, half = points.clone(), points.new_empty(points.shape[:2]), len(z) // 2
        if not fit.all():
            own = self._weigh_smooth(rows[~fit], points[:, ~fit], z[:, ~fit], scale, True)
            filled[:, ~fit], log_w[:, ~fit] = own
        filled[::2, fit], smooth = self._weigh_smooth(rows[fit], points[::2, fit], z[::2, fit], scale[::2], True)
        log_w[::2, fit] = smooth.masked_fill(recall.known(filled[::2, fit]), -math.inf) - math.log1p(-half / len(z))
        some, at, log_q = recall.filled(rows[fit], half, shares[fit])
        noise = (z / scale[:, None, None])[1::2, fit].flatten(0, 1)[None]
        told, log_told = self._weigh_smooth(some, at, noise, None, True)
        filled[1::2, fit] = told.view(-1, *rows[fit].x.shape)
        log_w[1::2, fit] = log_told.view(log_q.shape) - log_q - math.log(half / len(z))
        return rows.kept(filled, log_w)

    def _weigh_smooth(
        self, rows: RowsWithHoles, points: Tensor, z: Tensor, scale: Tensor | None, whole: bool
    ) -> tuple[Tensor, Tensor]:
        """The rows filled by the guide alone, and their log-weights.

        Args:
            points: Points of their cells, including holes.
            z: Noise for the holes.
            scale: How much wider than standard normal the noise of each draw is, ``(K,)``; None for 1.
            whole: Whether all holes are filled; otherwise some may stay whose integral has a closed form.
        """
        filled, context, log_mass, inside = points, rows.context, z.new_zeros(2, *z.shape[:2]), None
        log_q: Tensor | float = 0.0
        if rows.region is not None:
            inside = Inside(rows.region, z, torch.ones_like(z[:, 0, 0]) if scale is None else scale, (1.0, WIDE))
            order, leave = rows.region.entries, ~rows.region.named(filled)
            filled, log_q = self.guide.fill(filled, z, context, order=order, inside=inside, leave=leave)
            z, log_mass = inside.z.view(z.shape), inside.log_mass.view(log_mass.shape)
        closed = not (whole or inside is None or partly_known(rows.x).any()) and bool(self.joint.exact(filled).all())
        if not closed:
            known = filled if inside is not None else rows.points(torch.full_like(rows.x, 0.5)).expand_as(filled)
            drawn, more = self._filled_up(known, z.to(self.guide.loc), context)
            filled = filled.where(~filled.isnan(), drawn)
            log_q = log_q + more
        log_p = self._closed(rows, filled) if closed else self._log_p(filled, context)
        log_w = log_p - torch.as_tensor(log_q).double().nan_to_num(nan=math.inf)
        return filled, log_w + (log_mass[0] if scale is None else rows.correction(z, filled, log_mass))

    def _filled_up(self, x: Tensor, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """All holes of rows ``(K, n, features)`` filled by the guide, and the log-density of what fills them.

        Entries that say whether others are missing are drawn first, and those that are missing last, as if they were
        not: given a value, the guide knows that it is not missing, and would hardly ever draw that it is.
        """
        flags, filled, log_q = [k for _, k in self.tell], x.clone(), z.new_zeros(z.shape[:2])
        open_flags = x[0][:, flags].isnan().any(1)
        for some in (open_flags, ~open_flags):
            if not some.any():
                continue
            part, noise, given = x[:, some], z[:, some], None if context is None else context[some]
            if some is open_flags:
                part, log_q[:, some] = self.guide.fill(part, noise, given, order=flags)
                gone = torch.zeros_like(part, dtype=torch.bool)
                for j, k in self.tell:
                    gone[..., j] = part[..., k] == 1
                part, more = self.guide.fill(part, noise, given, leave=gone)
                log_q[:, some] += more
            filled[:, some], more = self.guide.fill(as_if_seen(part, self.tell), noise, given)
            log_q[:, some] += more
            for k in flags:
                filled[:, some, k] = part[..., k].where(~part[..., k].isnan(), filled[:, some, k])
        return filled, log_q

    def _log_p(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_p = self.joint.log_prob(x, None if context is None else context.expand(*x.shape[:-1], -1)).double()
        return torch.where(log_p.isnan(), -math.inf, log_p)  # outside a support: no density

    def _holed(self, x: Tensor, context: Tensor | None, seed: int, region: Region | None = None) -> RowsWithHoles:
        x, context = self._check(x.to(self.device), None if context is None else context.to(self.device))
        if x.dim() != 2:
            raise ValueError(f"x must be rows of shape (n, {self.event_shape[0]}), got {tuple(x.shape)}")
        numbers = torch.tensor([not size for size in self.guide.classes], device=x.device)
        context = None if context is None else context.expand(len(x), -1)
        return RowsWithHoles(x, context, row_keys(x, seed), seed, numbers, self._spread, region=region)


def as_if_seen(x: Tensor, tell: Sequence[tuple[int, int]]) -> Tensor:
    """The rows with 0 in every entry that marks another as missing."""
    if not tell:
        return x
    x = x.clone()
    for j, k in tell:
        x[..., k] = torch.where(x[..., j].isnan() & (x[..., k] == 1), 0.0, x[..., k])
    return x
