"""Models of flowjax and diffrax, compiled by JAX; jobs end when their results are ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .models import Subject, data
from .sizes import BOUND, TOLERANCE, Size


@dataclass
class JaxModel:
    """``parameters`` is a tree of arrays; the functions take it first. ``reverse`` as for :class:`TorchModel`."""

    parameters: Any
    log_prob: Callable[[Any, Any, Any], Any]  # parameters, rows, key
    sample: Callable[[Any, Any, int], Any]  # parameters, key, number
    reverse: Callable[[Any, Any, int], tuple[Any, Any]] | None = None


def flowjax(family: str, size: Size) -> JaxModel | None:
    import equinox as eqx
    import jax.numpy as jnp
    import jax.random as jr
    import paramax
    from flowjax.bijections import RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow, masked_autoregressive_flow

    makers = {
        "maf": masked_autoregressive_flow,
        "iaf": masked_autoregressive_flow,
        "nsf": masked_autoregressive_flow,
        "nsf-coupling": coupling_flow,
        "realnvp": coupling_flow,
    }
    if family not in makers:
        return None
    # it counts the knots within the interval, and its splines have slopes of their own at the two ends
    options: dict[str, Any] = {"transformer": RationalQuadraticSpline(knots=size.bins - 1, interval=BOUND)}
    flow = makers[family](
        jr.key(0),
        base_dist=Normal(jnp.zeros(size.features)),
        flow_layers=size.layers,
        nn_width=size.hidden[0],
        nn_depth=len(size.hidden),
        invert=family != "iaf",
        **(options if family.startswith("nsf") else {}),
    )
    parameters, static = eqx.partition(flow, eqx.is_inexact_array)

    def whole(parameters):
        return paramax.unwrap(eqx.combine(parameters, static))

    return JaxModel(
        parameters,
        lambda p, x, key: whole(p).log_prob(x),
        lambda p, key, n: whole(p).sample(key, (n,)),
        (lambda p, key, n: whole(p).sample_and_log_prob(key, (n,))) if family == "iaf" else None,
    )


def diffrax(family: str, size: Size) -> JaxModel | None:
    """A continuous flow as in diffrax's own example: one solve per row, adaptive steps for each, one random probe."""
    import diffrax as ode
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr

    if family != "cnf":
        return None
    widths = [size.features + 1, *size.hidden, size.features]
    keys = jr.split(jr.key(0), len(widths) - 1)
    parameters = [
        (1.5 * a**-0.5 * jr.normal(key, (a, b)), jnp.zeros(b))
        for key, a, b in zip(keys, widths, widths[1:], strict=False)
    ]

    def velocity(t, z, parameters):
        h = jnp.concatenate([z, jnp.full(1, t)])
        for weight, bias in parameters[:-1]:
            h = jnp.tanh(h @ weight + bias)
        return h @ parameters[-1][0] + parameters[-1][1]

    def solve(rate, state, parameters, start, end):
        return ode.diffeqsolve(
            ode.ODETerm(rate),
            ode.Dopri5(),
            start,
            end,
            None,
            state,
            parameters,
            stepsize_controller=ode.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
        ).ys

    def log_prob(parameters, x, key):
        probes = jr.rademacher(key, x.shape, x.dtype)

        def row(x, probe):
            def rate(t, state, parameters):
                value, pull = jax.vjp(lambda z: velocity(t, z, parameters), state[0])
                return value, -jnp.sum(pull(probe)[0] * probe)

            z, change = solve(rate, (x, jnp.zeros(())), parameters, 0.0, 1.0)
            return -0.5 * jnp.sum(z[-1] ** 2) + change[-1]

        return eqx.filter_vmap(row)(x, probes)

    def sample(parameters, key, n):
        z = jr.normal(key, (n, size.features))
        return eqx.filter_vmap(lambda row: solve(velocity, row, parameters, 1.0, 0.0)[-1])(z)

    return JaxModel(parameters, log_prob, sample)


def jax_subject(library: str, model: JaxModel, size: Size) -> Subject:
    """The jobs of :func:`torch_subject`, each one compiled function."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import optax

    x, optimizer = jnp.asarray(data(size).cpu().numpy()), optax.adam(1e-4)
    state = [model.parameters, optimizer.init(model.parameters), jr.key(1)]

    def loss(parameters, x, key):
        if model.reverse is None:
            return -model.log_prob(parameters, x, key).mean()
        draws, log_q = model.reverse(parameters, key, size.batch)
        return (log_q + 0.5 * ((draws - 1) ** 2).sum(-1)).mean()

    def step(parameters, moments, key, x):
        key, used = jr.split(key)
        gradient = jax.grad(loss)(parameters, x, used)
        updates, moments = optimizer.update(gradient, moments, parameters)
        return eqx.apply_updates(parameters, updates), moments, key

    compiled_step: Any = eqx.filter_jit(step)
    density = eqx.filter_jit(model.log_prob)
    sample = eqx.filter_jit(lambda parameters, key: model.sample(parameters, key, size.batch))

    def train() -> None:
        state[:] = jax.block_until_ready(compiled_step(*state, x))

    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.parameters))
    jobs = {
        "density": lambda: jax.block_until_ready(density(state[0], x, state[2])),
        "train": train,
        "sample": lambda: jax.block_until_ready(sample(state[0], state[2])),
    }
    return Subject(library, parameters, jobs)
