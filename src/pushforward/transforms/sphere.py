"""Charts of the sphere and of convex polytopes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Transform, Where


class Sphere(Transform):
    r"""The unit sphere in n dimensions by n - 1 free numbers: a height for each dimension but the last two, then an
    angle.

    .. math:: x_i = h_i \prod_{j<i} \sqrt{1 - h_j^2},\quad 1 - h_i^2 = e^{-z_i^2 / (n - i)},\quad
              (x_{n-1}, x_n) \propto (\cos\varphi, \sin\varphi),\ \varphi = 2\pi\,\Phi(z_{n-1}) - \pi

    Densities are with respect to the surface measure, and exact except at the seam of the chart, a null set: the half
    great sphere :math:`x_n = 0,\ x_{n-1} < 0`. There the two sides meet, and a flow over free numbers may give them
    different densities. With ``circle`` the last number of z is the angle itself, for a flow with that period
    (:class:`AnglesFirst`), and the only seam is where the circle shrinks to a point. The uniform density on the sphere
    has nearly normal tails in z, so that any flow can learn it.

    Args:
        n: Dimensions of the space, 2 for the circle.
        circle: Whether the last number of z is an angle in [-pi, pi] of period 2 pi, in place of a free number.

    Raises:
        ValueError: ``n`` is below 2.

    Reference:
        Rezende et al. (2020), Normalizing flows on tori and spheres, arXiv:2002.02428.
    """

    domain = Where(lambda x: (x.norm(dim=-1) - 1).abs() < 1e-4)

    def __init__(self, n: int, *, circle: bool = False) -> None:
        super().__init__()
        if n < 2:
            raise ValueError(f"n must be at least 2, got n={n}")
        self.n, self.free, self.circle = n, n - 1, circle
        self.register_buffer("dims", torch.arange(n - 1, 1, -1.0), persistent=False)  # n - i, for every height

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rest = x.square().flip(-1).cumsum(-1).flip(-1)[..., 1:-1]  # the remainder after each height
        ratio = x[..., :-2] * rest.rsqrt()  # h / sqrt(1 - h^2)
        dims = self.get_buffer("dims")
        z = ratio * (dims * _log1p_ratio(ratio.square())).sqrt()
        u = z.square() / dims
        if self.circle:
            last = torch.atan2(x[..., -1:], x[..., -2:-1])
            return torch.cat([z, last], -1), -self._heights(u)
        side = torch.where(x[..., -1:] < 0, -1.0, 1.0).to(x)
        to_seam = torch.atan2(side * x[..., -1:], -x[..., -2:-1])  # pi - |phi|: exact near the seam as well
        last = -side * torch.special.ndtri(to_seam / (2 * math.pi))
        return torch.cat([z, last], -1), -self._heights(u) - _turn_slope(last)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        dims, heights, last = self.get_buffer("dims"), z[..., :-1], z[..., -1:]
        u = heights.square() / dims
        h = heights * (_expm1_ratio(u) / dims).sqrt()
        left = (-0.5 * u.cumsum(-1)).exp()  # the product of sqrt(1 - h^2), up to and with each height
        before = torch.cat([torch.ones_like(last), left], -1)
        if self.circle:
            ends = before[..., -1:] * torch.cat([last.cos(), last.sin()], -1)
            return torch.cat([h * before[..., :-1], ends], -1), self._heights(u)
        side = torch.where(last < 0, -1.0, 1.0).to(z)
        to_seam = 2 * math.pi * torch.special.log_ndtr(-side * last).exp()  # ndtr itself is accurate to 1e-8 at best
        ends = before[..., -1:] * torch.cat([-to_seam.cos(), side * to_seam.sin()], -1)
        return torch.cat([h * before[..., :-1], ends], -1), self._heights(u) + _turn_slope(last)

    def _heights(self, u: Tensor) -> Tensor:
        """log of surface element per volume of z: each height's own slope, and (1 - h^2) to the half of n - i - 2."""
        dims = self.get_buffer("dims")
        heights = -u - 0.5 * (dims * _expm1_ratio(u)).log() - 0.5 * u * (dims - 2)
        return heights.sum(-1)


class Polytope(Transform):
    r"""The interior of a bounded convex polytope :math:`A x < b`, along the rays from its analytic centre.

    .. math:: x = c + H^{-1/2} y,\quad y = z\, \frac{s(\gamma)}{\gamma},\quad s = \sqrt{1 - e^{-\gamma^2 / 2}},\quad
              \gamma(z) = \max_i \frac{(A H^{-1/2} z)_i}{(b - A c)_i}

    with H the curvature of the logarithmic barrier at c. The gauge gamma is 1 on the boundary, homogeneous and
    continuous, so densities are exact everywhere and continuous in the interior;
    :math:`\log|\det dy/dz| = (m - 1) \log(s / \gamma) + \log s'(\gamma)`.

    Args:
        A: ``(faces, features)``.
        b: ``(faces,)``.

    Raises:
        ValueError: shapes do not fit, the interior is empty, or the polytope is unbounded.
    """

    normals: Tensor
    centre: Tensor
    root: Tensor

    def __init__(self, A: Tensor, b: Tensor) -> None:
        super().__init__()
        A, b = (torch.as_tensor(v, dtype=torch.float64) for v in (A, b))
        if A.dim() != 2 or b.shape != A.shape[:1] or not bool(A.isfinite().all() and b.isfinite().all()):
            shapes = f"{tuple(A.shape)} and {tuple(b.shape)}"
            raise ValueError(f"A must be (faces, features) and b (faces,), finite, got {shapes}")
        centre, curvature = analytic_centre(A, b)
        values, vectors = torch.linalg.eigh(curvature)
        root = vectors * values.rsqrt() @ vectors.T
        like = torch.get_default_dtype()
        self.register_buffer("centre", centre.to(like), persistent=False)
        self.register_buffer("root", root.to(like), persistent=False)
        self.register_buffer("normals", (A @ root / (b - A @ centre)[:, None]).to(like), persistent=False)
        self.A, self.b = A.tolist(), b.tolist()

    @property
    def domain(self) -> Where:
        return Where(lambda x: self.gauge(self.away(x))[..., 0] < 1)

    def arguments(self) -> dict[str, object]:
        return {"A": self.A, "b": self.b}

    def away(self, x: Tensor) -> Tensor:
        """y, the offset from the centre in units of the curvature."""
        away = (x - self.centre)[..., None]
        return torch.linalg.solve(self.root, away)[..., 0]  # type: ignore[no-any-return]

    def gauge(self, y: Tensor) -> Tensor:
        """gamma of vectors from the centre, ``(*batch, 1)``."""
        return (y @ self.normals.T).amax(-1, keepdim=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = self.away(x)
        s = self.gauge(y)
        square = s.square()
        u = -(-square).log1p()  # gamma^2 / 2
        z = y * (2 * _log1p_ratio(-square)).sqrt()
        return z, -self._logdet(u)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u = 0.5 * self.gauge(z).square()
        y = z * (0.5 * _expm1_ratio(u)).sqrt()
        return self.centre + y @ self.root, self._logdet(u)

    def _logdet(self, u: Tensor) -> Tensor:
        """With s / gamma = sqrt(ratio / 2), where ratio = (1 - e^-u) / u, and s' = e^-u / (2 s / gamma)."""
        log_scale = 0.5 * (0.5 * _expm1_ratio(u)).log()
        log_root = torch.linalg.slogdet(self.root).logabsdet
        return ((len(self.centre) - 2) * log_scale - u - math.log(2))[..., 0] + log_root


def _turn_slope(last: Tensor) -> Tensor:
    """log of d(2 pi Phi(z))/dz."""
    return (0.5 * math.log(2 * math.pi) - 0.5 * last.square())[..., 0]


def _expm1_ratio(u: Tensor) -> Tensor:
    """(1 - e^-u) / u, 1 at 0."""
    small = u < 1e-3
    safe = torch.where(small, torch.ones_like(u), u)
    return torch.where(small, 1 - u / 2 + u.square() / 6 - u**3 / 24, -(-safe).expm1() / safe)


def _log1p_ratio(v: Tensor) -> Tensor:
    """log(1 + v) / v, 1 at 0."""
    small = v.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(v), v)
    return torch.where(small, 1 - v / 2 + v.square() / 3 - v**3 / 4, safe.log1p() / safe)


@torch.no_grad()
def analytic_centre(A: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    r"""The maximiser of :math:`\sum_i \log(b - A x)_i`, and the curvature there.

    An interior point is found first, by maximising with all faces moved outwards by t, for decreasing t.

    Raises:
        ValueError: there is no interior point, or the maximum is at infinity.
    """
    x = A.new_zeros(A.shape[1])
    norms = A.norm(dim=1).clamp_min(1e-300)
    A, b = A / norms[:, None], b / norms
    for _ in range(200):
        slack = b - A @ x
        if float(slack.min()) > 0:
            break
        shift = 2 * float(-slack.min()) + 1e-9  # faces moved outwards by this: x is inside, and Newton centres it
        x = _newton(A, b + 0.5 * shift + float(-slack.min()), x, 20)
    else:
        raise ValueError("A and b leave nothing inside: no x has A x < b in every face")
    x = _newton(A, b, x, 100)
    slack = b - A @ x
    scaled = A / slack[:, None]
    curvature = scaled.T @ scaled
    values = torch.linalg.eigvalsh(curvature)
    unbounded = bool(values[0] <= 1e-12 * values[-1]) or float((scaled.sum(0)).norm()) > 1e-4 * float(scaled.norm())
    if unbounded:
        raise ValueError("A and b must bound x in every direction: the polytope goes on to infinity")
    return x, curvature


def _newton(A: Tensor, b: Tensor, x: Tensor, steps: int) -> Tensor:
    """Damped Newton steps on the barrier that stay inside."""
    for _ in range(steps):
        slack = b - A @ x
        scaled = A / slack[:, None]
        gradient, curvature = scaled.sum(0), scaled.T @ scaled
        step = torch.linalg.lstsq(curvature, gradient[:, None], driver="gelsd").solution[:, 0]
        decrement = float((gradient @ step).clamp_min(0).sqrt())
        x = x - step / (1 + decrement) if decrement > 0.25 else x - step
        if decrement < 1e-12:
            break
    return x
