"""One model of every conditional: the density of any entries of a row given any others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import positive
from ...nets.positions import rows_of
from ...nets.subset import SubsetNet
from ...numerics.indicators import indicators
from ...numerics.partly_known import INFINITE, Parts, log_mass, partly_known, parts_of, squeezed
from ...numerics.spline import FLOOR
from ...transforms.base import Transform
from ...transforms.elementwise import Identity
from ...transforms.normalization import Precision
from ...transforms.scalar import Affine, Spline
from ..base import Density, alike, batch_of_draws
from .normal_conditionals import NormalConditionals
from .one_dimensional import KNOWN, LOG_SCALE, TAILS, Conditionals, Standard, network_inputs
from .region import Inside

NODES = 8  # of the integral over a measurement's error
LEAST = -1e4  # nats, of a point outside of the support


class AnyOrder(Density):
    r"""p(any entries | any others): one network reads the known entries and which they are.

    For each other entry it gives the one-dimensional conditional: a number is a scalar map of a standard normal (a
    scale and shift, then a spline), a category has logits. A row has the density

    .. math:: \log p(x \mid c) = \sum_j \log p(x_j \mid x_{1:j-1}, c)

    along the order of its entries, without those that are NaN: NaN stands for an unobserved entry, which is integrated
    out. Every such sum is a log-density, but sums along two orders agree only as far as the network has learnt them to;
    so log p(a) + log p(b | a) is exactly log p(a, b) if a comes before b.

    Numbers are standardised, and beyond 5 standard deviations taken on a logarithmic scale; with ``normal`` they are
    standardised again, by mean and standard deviation given the known numbers in a normal distribution with the
    covariance of the training rows, so that the network has to learn only the non-linear part. Trained with
    :class:`~pushforward.objectives.anyorder.AnyOrderLikelihood`, by default in :func:`pushforward.fit`.

    Args:
        net: The network; it reads two inputs per number, ``classes[j]`` per category, and gives the parameters.
        classes: For each entry, its number of categories, with codes 0 … classes[j] - 1; 0 or None for a number.
        bins: Bins of each spline.
        bound: Splines act on [-bound, bound] and leave the rest as it is.
        first: For each entry, a map from its units to a suitable scale (such as a logarithm), a transform of
            ``event_dim`` 0, or None; none by default. Categories have none.
        normal: Whether numbers are standardised by their normal conditionals.
        context: Features of the context, 0 for none.
        far: Where the logarithmic scale becomes linear, in multiples of 5 standard deviations; None: nowhere. Draws of
            a guide that has learnt little otherwise lie exponentially far out. With it, the scale of known numbers
            is logarithmic from 3 standard deviations on.

    Raises:
        ValueError: the network or ``first`` does not fit the classes.

    Reference:
        Uria, Murray, Larochelle (2014), A deep and tractable density estimator, arXiv:1310.1757; Hoogeboom et al.
        (2022), Autoregressive diffusion models, arXiv:2110.02037; Strauss, Oliva (2021), Arbitrary conditional
        distributions with energy, arXiv:2102.04426.
    """

    entry: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        net: SubsetNet,
        classes: Sequence[int | None],
        *,
        bins: int = 8,
        bound: float = 5.0,
        first: Sequence[Transform | None] | None = None,
        normal: bool = False,
        context: int = 0,
        encoder: nn.Module | None = None,
        far: float | None = None,
    ) -> None:
        super().__init__(encoder)
        self.affine, self.spline = Affine(LOG_SCALE), Spline(bins, bound, FLOOR)
        self.classes = tuple(int(size or 0) for size in classes)
        outputs = [len(rows) for rows in net.rows]
        if outputs != self.sizes(self.classes, bins)[1]:
            raise ValueError(f"net gives {outputs} parameters, which does not fit classes={self.classes}, bins={bins}")
        if first is not None and len(first) != len(self.classes):
            raise ValueError(f"first must hold a map or None for each of {len(self.classes)} entries, got {len(first)}")
        self.first: Any = nn.ModuleList(Identity(event_dim=0) if f is None else f for f in first or ())
        self.precision = Precision()  # numbers are rounded after standardisation
        self.net, self.context_features, self.far = net, context, far
        self._bound = TAILS if far is None else KNOWN  # where the logarithmic scale of known numbers begins
        self.event_shape = torch.Size((len(self.classes),))
        self.normal = NormalConditionals(len(self.classes)) if normal else None
        ends = [0, *itertools.accumulate(size or 2 for size in self.classes)]
        self._rows_read, self._first_read = [slice(start, stop) for start, stop in pairwise(ends)], ends[:-1]
        entry = [j for j, size in enumerate(self.classes) for _ in range(size or 2)]  # of each input
        self.register_buffer("entry", torch.tensor(entry), persistent=False)
        self.register_buffer("loc", torch.zeros(2, len(self.classes)))  # the mean, and its rounding residual in float32
        self.register_buffer("scale", torch.ones(len(self.classes)))

    @property
    def conditionals(self) -> Conditionals:
        """The conditionals of the entries, from the network's parameters."""
        return Conditionals(self.affine, self.spline, self.classes, self.net.rows, self.far)

    @staticmethod
    def sizes(classes: Iterable[int | None], bins: int) -> tuple[list[int], list[int]]:
        """How many inputs a network reads per entry, and how many parameters it gives."""
        classes = list(classes)
        return [size or 2 for size in classes], [size or 3 * bins + 1 for size in classes]

    def log_prob(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        given: Tensor | None = None,
        order: Sequence[int] | None = None,
    ) -> Tensor:
        """log p(the other observed entries | the given ones, context) in nats, of shape ``(*batch,)``.

        Args:
            x: ``(*batch, features)``; NaN where an entry was not observed.
            context: The context, broadcastable to the batch.
            given: Which entries to condition on, bool of shape ``(features,)`` or ``(*batch, features)``.
            order: The order of factorisation; that of the entries by default.

        Raises:
            ValueError: shapes do not fit.
        """
        x, context = self._check(x, context)
        known = self._mask(given, x)
        batch, x, known = x.shape[:-1], x.reshape(-1, len(self.classes)), known.reshape(-1, len(self.classes))
        (v, read, slope), context = self._read(x), rows_of(context, batch)
        seen, known, total = ~x.isnan(), known.t(), v.new_zeros(x.shape[0])
        order = range(len(self.classes)) if order is None else order
        along = None if self.normal is None else self.normal.along(known, seen.t() & ~known, order)
        for j in order:
            params = self.net.params(self.net(read * known[self.entry], context), j)
            wanted = seen[:, j] & ~known[j]
            standard = None if along is None else along.at(j, read[self._first_read])
            total = total + torch.where(wanted, self.conditionals.one(j, v[j], params, standard) + slope[j], 0.0)
            known = torch.cat([known[:j], (known[j] | seen[:, j])[None], known[j + 1 :]])
        return total.view(batch)

    def entries(
        self, x: Tensor, known: Tensor, context: Tensor | None = None, *, orders: Tensor | None = None
    ) -> Tensor:
        """log p(x_j | the known entries, context) of each entry j separately, all in one pass of the network.

        Args:
            x: ``(*batch, features)``; NaN where an entry was not observed. One that is known in part
                (:mod:`~pushforward.numerics.partly_known`) has the log-probability of its interval, or the log-density
                of its measurement.
            known: Which entries to condition on, bool of shape ``(*batch, features)``; of those that are known in part,
                which are left out.
            context: The context, broadcastable to the batch.
            orders: ``(orders, features)``, if the known entries of row i of a batch without NaN are a prefix of order
                number i modulo the number of orders: the same result in less time.

        Returns:
            ``(*batch, features)`` in nats; 0 where an entry is known or was not observed.
        """
        x, context = self._check(x, context)
        left_out, known = known.expand(x.shape).reshape(-1, len(self.classes)), self._mask(known, x)
        batch, x, known = x.shape[:-1], x.reshape(-1, len(self.classes)), known.reshape(-1, len(self.classes)).t()
        v, read, slope = self._read(x)
        params = self.net.params(self.net(read * known[self.entry], rows_of(context, batch)))
        standard = None if self.normal is None else self.normal(read[self._first_read], known, orders)
        found = torch.where(~x.isnan() & ~known.t(), (self.conditionals.all(v, params, standard) + slope).t(), 0.0)
        partly = partly_known(x) & ~left_out
        for j in partly.any(0).nonzero()[:, 0].tolist():
            some, rows = partly[:, j].nonzero()[:, 0], self.net.rows[j]
            own = None if standard is None else (standard[0][j, some], standard[1][j, some])
            log_p = self._log_of_part(j, parts_of(x[some, j]), params[rows.start : rows.stop, some], own)
            found = found.index_put((some, torch.full_like(some, j)), log_p.to(found))
        return found.view(*batch, len(self.classes))

    @torch.no_grad()
    def tails(self, x: Tensor, context: Tensor | None = None, without: Tensor | None = None) -> Tensor:
        r"""How far out each observed entry lies given all the others: the logarithm of its two-sided tail probability.

        .. math:: t_j = 2 \min\{F_j(x_j \mid x_{-j}),\; 1 - F_j(x_j \mid x_{-j})\}

        for numbers; for a category, the probability of all categories that are no likelier. Unlike a density, it does
        not depend on units, nor on how narrow the cells of repeated values are.

        Args:
            x: ``(*batch, features)``; NaN where an entry was not observed.
            context: The context, broadcastable to the batch.
            without: Sets of entries, ``(sets, features)``, each of which is left out in turn. What entry j has without
                k, and k without j, takes one pass of the network.

        Returns:
            ``(*batch, features)``, float64, or ``(sets, *batch, features)``; 0 where an entry was not observed or is
            left out, -infinity where it cannot be, and then the others are as if it had not been observed.
        """
        x, context = self._check(x, context)
        x, strange = self._possible(x)
        batch, x, context = x.shape[:-1], x.reshape(-1, len(self.classes)), rows_of(context, x.shape[:-1])
        entries = torch.eye(len(self.classes), dtype=torch.bool, device=x.device)
        sets = torch.zeros_like(entries[:1]) if without is None else without.to(x.device)
        unknown, which = (sets[:, None] | entries).flatten(0, 1).unique(dim=0, return_inverse=True)
        (v, read, _), seen, n = self._read(x), ~x.isnan().t(), len(x)
        known = (seen[:, None] & ~unknown.t()[..., None]).flatten(1)  # (features, different sets of unknown ones * n)
        given = None if context is None else context.repeat(len(unknown), 1)
        h, found = self.net(read.repeat(1, len(unknown)) * known[self.entry], given), []
        read = read[self._first_read].repeat(1, len(sets))
        places = (which.view(sets.shape).t()[..., None] * n + torch.arange(n, device=x.device)).flatten(1)
        for j, at in enumerate(places):
            standard = self._standard(j, known[:, at], read)
            found.append(self.conditionals.tail(j, v[j].repeat(len(sets)), self.net.params(h[:, at], j), standard))
        tails = torch.stack(found, 1).view(len(sets), *batch, len(self.classes))
        seen, left_out = seen.t().reshape(strange.shape), sets.view(-1, *[1] * len(batch), len(self.classes))
        tails = torch.where(seen & ~left_out, tails, 0.0).masked_fill(strange & ~left_out, -math.inf)
        return tails[0] if without is None else tails

    @torch.no_grad()
    def tails_given(self, x: Tensor, known: Tensor, context: Tensor | None = None) -> Tensor:
        """The same of each entry given the known ones alone, of rows ``(n, features)``, in one pass."""
        x, context = self._check(x, context)
        x, strange = self._possible(x)
        (v, read, _), known = self._read(x), self._mask(known, x).t()
        params = self.net.params(self.net(read * known[self.entry], context))
        normal = None if self.normal is None else self.normal(read[self._first_read], known)
        found = []
        for j, rows in enumerate(self.net.rows):
            standard = None if normal is None else (normal[0][j], normal[1][j])
            found.append(self.conditionals.tail(j, v[j], params[rows.start : rows.stop], standard))
        return torch.where(x.isnan(), 0.0, torch.stack(found, 1)).masked_fill(strange, -math.inf)

    def _standard(self, j: int, known: Tensor, read: Tensor) -> Standard | None:
        """The normal conditional of entry j given the known numbers, if there is one."""
        if self.normal is None:
            return None
        asked = torch.zeros_like(known)
        asked[j] = True
        return self.normal.along(known, asked, [j]).at(j, read)

    @torch.no_grad()
    def sample(
        self,
        shape: int | Sequence[int] = (),
        context: Tensor | None = None,
        *,
        given: Tensor | None = None,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Draws of shape ``(*shape, *context batch, features)``.

        Args:
            shape: Shape of the draws for each row.
            context: The context, one for each row of ``given`` or broadcastable to it.
            given: ``(*batch, features)``: rows whose NaN entries are drawn given the others, which are kept.
            generator: Source of the random numbers.
            temperature: Scales the noise of numbers and divides logits.
        """
        positive(temperature=temperature)
        if new := given is None:
            given = torch.full(self.event_shape, math.nan, dtype=self.loc.dtype, device=self.loc.device)
        given, context = self._check(given, context)
        x = given.expand(*batch_of_draws(shape, None), *given.shape)
        z = torch.randn(x.shape, generator=generator, dtype=self.loc.dtype, device=x.device)
        return self._fill(x, z, context, range(len(self.classes)), temperature, new=new)[0]

    @torch.no_grad()
    def fill(
        self,
        x: Tensor,
        z: Tensor,
        context: Tensor | None = None,
        *,
        order: Sequence[int] | None = None,
        temperature: float = 1.0,
        inside: Inside | None = None,
        leave: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Maps standard normal noise to the missing entries of each row.

        Args:
            x: ``(*batch, features)``; NaN where an entry is to be filled. One of which an interval is known
                (:mod:`~pushforward.numerics.partly_known`) is drawn within it; one that was measured, from its error
                alone, so that the measurement's own density cancels in the returned one.
            z: Noise of the shape of x; read where x is NaN.
            context: The context, broadcastable to the batch.
            order: The order in which holes are filled; that of the entries by default.
            temperature: Scales the noise of numbers and divides logits.
            inside: The region to stay in, with the noise of the draws.
            leave: Entries that stay missing, bool of the shape of x; none by default.

        Returns:
            The filled rows, and log p(filled entries | known entries) along the order, ``(*batch,)``; it is the
            log-density of the draws if the temperature is 1.
        """
        x, context = self._check(x, context)
        order = range(len(self.classes)) if order is None else order
        return self._fill(x, z, context, order, temperature, inside=inside, leave=leave)

    def _fill(
        self,
        x: Tensor,
        z: Tensor,
        context: Any,
        order: Sequence[int],
        temperature: float,
        new: bool = False,
        inside: Inside | None = None,
        leave: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``new``: every entry of every row is missing, so no search for holes, which would synchronise."""
        own = None if context is None or context.dim() < x.dim() else context  # contexts of the draws, if these differ
        batch, same = x.shape[:-1], not new and alike(x, own)
        x = x.reshape(-1, len(self.classes)).clone()
        z, context = z.reshape(x.shape), rows_of(context, batch)
        known, log_q = ~x.isnan(), z.new_zeros(len(x))
        holes = ~known if leave is None else ~(known | leave.reshape(known.shape))
        first = math.prod(batch[1:]) if same else len(x)  # what all draws of a row have in common is read once
        read = self._read(x[:first])[1].repeat(1, len(x) // max(first, 1)) * known.t()[self.entry]
        along = None if self.normal is None else self.normal.along(known.t(), holes.t(), order)
        for j in order:
            rows = x if new else holes[:, j].nonzero()[:, 0]
            if not len(rows):
                continue
            some = slice(None) if len(rows) == len(x) else rows
            asked = slice(first) if same else some  # the first entry of all draws from the same network
            params = self.net.params(self.net(read[:, asked], None if context is None else context[asked]), j)
            params, same = params.repeat(1, batch[0])[:, some] if same else params, False
            standard = None if along is None else along.at(j, read[self._first_read][:, some], some)
            if inside is not None and j in inside.region.entries:
                v, log_p = inside.draw(self, j, some, params, standard)
                found, slope = self._in_units(j, v.to(x.dtype))
                x[some, j], log_p = inside.moved(j, found, some), log_p - slope.to(log_p)
            else:
                x[some, j], v, log_p = self._drawn(j, x[some, j], z[some, j], params, temperature, standard)
            log_q[some] += log_p
            read[self._rows_read[j], some] = network_inputs([self.classes[j]], v[None], self._bound)
        return x.view(*batch, len(self.classes)), log_q.view(batch)

    def _drawn(
        self, j: int, x: Tensor, z: Tensor, params: Tensor, temperature: float, standard: Standard | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Entry j from noise, within what is known of it: in its units and standardised, and its log-density."""
        partly = partly_known(x)
        if x.dtype != torch.float64 or not partly.any():  # others cannot hold what is known in part
            v, log_p = self.conditionals.draw(j, z, params, temperature, standard)
            found, slope = self._in_units(j, v.to(x.dtype))
            return found, v, log_p - slope.to(log_p)
        parts = parts_of(x)
        low, high = self.noise_of_ends(j, torch.stack(parts[:2]), params, standard)
        inside = torch.where(partly, squeezed(z.double(), low, high).to(z), z)
        v, log_p = self.conditionals.draw(j, inside, params, temperature, standard)
        found, slope = self._in_units(j, v.to(x.dtype))
        found = torch.maximum(torch.minimum(found, parts.high.nan_to_num(math.inf)), parts.low.nan_to_num(-math.inf))
        found = torch.where(parts.error > 0, parts.value + parts.error * z, found)
        log_p = log_p - slope.to(log_p) - torch.where(partly, log_mass(low, high), 0.0).to(log_p)
        return found, self._standardised(j, found)[0].to(v), log_p.masked_fill(parts.error > 0, 0.0)

    def _log_of_part(self, j: int, parts: Parts, params: Tensor, standard: Standard | None) -> Tensor:
        """log-probabilities of intervals, and log-densities of measurements, of entry j, ``(n,)``.

        A measurement's is an integral over the true value, by Gauss and Hermite.
        """
        noisy = parts.error > 0
        mass = log_mass(*self.noise_of_ends(j, torch.stack(parts[:2]), params, standard))
        if not noisy.any():
            return mass
        nodes, weights = (torch.from_numpy(part).to(mass) for part in np.polynomial.hermite_e.hermegauss(NODES))
        x = torch.where(noisy, parts.value, self.loc[0, j]) + torch.where(noisy, parts.error, 0.0) * nodes[:, None]
        z, slope = self.noise_of(j, x, params, standard)
        log_p = torch.where(z.isfinite(), slope - 0.5 * z.square() - 0.5 * math.log(2 * math.pi), LEAST)
        return torch.where(noisy, (log_p + (weights / weights.sum()).log()[:, None]).logsumexp(0), mass)

    def noise_of_ends(self, j: int, ends: Tensor, params: Tensor, standard: Standard | None) -> tuple[Tensor, Tensor]:
        """Both ends ``(2, ..., n)`` of intervals as standard normal noise; those of all numbers where they are NaN."""
        low, high = self.noise_of(j, ends.flatten(0, -2), params, standard)[0].view(ends.shape)
        return low.nan_to_num(-INFINITE), high.nan_to_num(INFINITE)

    def noise_of(self, j: int, x: Tensor, params: Tensor, standard: Standard | None) -> tuple[Tensor, Tensor]:
        """The standard normal noise of several values of entry j for each row, ``(values, n)``, NaN where they lie
        beyond what it can be; and the log-slopes."""
        v, slope = self._standardised(j, x)
        possible, k = v.isfinite(), len(x)
        own = None if standard is None else (standard[0].tile(k)[None], standard[1].tile(k)[None])
        z, more = self.conditionals.number_noise(
            torch.where(possible, v, 0.0).to(params).view(1, -1), params.tile(1, k), own
        )
        z, more = (part[0].view(v.shape).double() for part in (z, more))
        return torch.where(possible, z, math.nan).clamp(-INFINITE, INFINITE), torch.where(possible, slope, 0.0) + more

    def _standardised(self, j: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values of entry j as the conditionals take them, and the log-slopes."""
        slope = -self.scale[j].log().to(x).expand(x.shape)
        if self.first:
            x, more = self.first[j](x)
            slope = slope + more
        return (x - self.loc[0, j] - self.loc[1, j]) / self.scale[j], slope

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Sets means and standard deviations of the observed numbers, and the frequencies of the categories."""
        x = x.reshape(-1, len(self.classes))
        for j, size in enumerate(self.classes):
            seen = x[~x[:, j].isnan(), j]
            seen = self.first[j](seen)[0] if self.first else seen
            seen = seen[seen.isfinite()]
            if size:
                counts = indicators(seen[:, None], [size]).sum(0) + 0.5
                rows = self.net.rows[j]
                self.net.biases[-1][rows.start : rows.stop] = (counts / counts.sum()).log().to(self.loc)
            elif len(seen) > 1 and float(seen.std()) > 0:
                self.loc[0, j], self.scale[j] = seen.mean(), seen.std()
                self.loc[1, j] = (seen - self.loc[0, j]).mean()
        if self.normal is not None:
            read, numbers = self._read(x)[1][self._first_read], [not size for size in self.classes]
            self.normal.initialize(
                read.where(x.isfinite().t() & torch.tensor(numbers, device=x.device)[:, None], math.nan)
            )

    def _mask(self, mask: Tensor | None, x: Tensor) -> Tensor:
        """``mask`` expanded to the batch of x, without the entries that are NaN."""
        if mask is None:
            return torch.zeros_like(x, dtype=torch.bool)
        if mask.dtype != torch.bool or mask.shape[-1:] != self.event_shape:
            raise ValueError(
                f"given must be bool of shape ({len(self.classes)},) or (*batch, {len(self.classes)}), "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
        try:
            return mask.expand(x.shape) & ~x.isnan()
        except RuntimeError:
            raise ValueError(
                f"given has shape {tuple(mask.shape)}, which does not broadcast to {tuple(x.shape)}"
            ) from None

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The entries ``(features, n)``, with numbers standardised; the network's inputs ``(inputs, n)``; and the
        log-slopes of standardisation, ``(features, n)``."""
        holes, slope = x.isnan().t(), -self.scale.log()[:, None].expand(-1, x.shape[0])
        x = x.t()
        if self.first:
            x, more = (
                torch.stack(parts)
                for parts in zip(*[f(row) for f, row in zip(self.first, x, strict=True)], strict=True)
            )
            slope = slope + torch.where(holes, 0.0, more)
        v = (x - self.loc[0, :, None] - self.loc[1, :, None]) / self.scale[:, None]  # categories are unchanged
        v = torch.where(holes, 0.0, v).to(self.loc.dtype).contiguous()
        return v, network_inputs(self.classes, v, self._bound), slope.to(self.loc.dtype)

    def _possible(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The rows as if entries that cannot be had not been observed, and which these are, both as x."""
        v = self._read(x.reshape(-1, len(self.classes)))[0]
        strange = ~v.isfinite().t().reshape(x.shape)
        return x.masked_fill(strange, math.nan), strange

    def _in_units(self, j: int, v: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised entries in their original units, and log dx/dv."""
        x = self.scale[j] * v + self.loc[1, j] + self.loc[0, j]
        x, slope = self.first[j].inverse(x) if self.first else (x, torch.zeros_like(x))
        return x, slope + self.scale[j].log()
