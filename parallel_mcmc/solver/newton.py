"""One parallel Newton iteration over a window of steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, all_finite, at, preceding, repeated, select
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.operators import Operator
from parallel_mcmc.solver.recurrence import Recurrence, margins_of
from parallel_mcmc.solver.residual import observed_scale, residual_of
from parallel_mcmc.solver.safeguards import Memory, clip_length, secant
from parallel_mcmc.solver.timeaxis import ONE_DEVICE, TimeAxis, delayed
from parallel_mcmc.solver.trust_region import TrustRegion
from parallel_mcmc.solver.verdict import Verdict, conclude, leading, look_at

# States that the spread of an iterate is judged by: a median of all would cost a long sort.
SPREAD_STATES = 128


class Iteration(NamedTuple):
    """The outcome of one Newton iteration over a window of W steps."""

    values: PyTree
    """``f(x_{t-1})`` for every step, leading axis W."""
    aux: PyTree
    """What the steps recorded."""
    guess: PyTree
    """The new iterate ``x_1 … x_W``."""
    before: PyTree
    """The state before it: the anchor, but for later blocks of a window over many devices."""
    memory: Memory
    model: Operator
    """The model of the Jacobian before it is capped; zero where it is not usable."""
    usable: jax.Array
    """Whether the value and the model are finite, shape ``(W,)``."""
    spread: jax.Array
    """How wide the iterate ranges, and at least the scale, shape ``(D,)``."""
    finite: jax.Array
    """Whether each of the values is finite, shape ``(W,)``."""
    gap: jax.Array
    """``|f(x_{t-1}) - x_t|`` in units of the scale and beyond rounding, shape ``(W,)``; infinite
    where a value is not finite or a non-numeric part differs."""
    found: Verdict
    """Which of the values are exact."""


def newton_iteration(
    method: Newton,
    recurrence: Recurrence,
    anchor: PyTree,
    guess: PyTree,
    inputs: PyTree,
    memory: Memory,
    scale: jax.Array | None,
    count: jax.Array,
    *,
    tolerance: jax.Array | float,
    left: jax.Array | int,
    axis: TimeAxis = ONE_DEVICE,
) -> Iteration:
    """Linearise every step at the iterate, solve the affine recurrence, move the iterate.

    Parameters
    ----------
    anchor
        The state before the W steps: the exact one, but for later blocks of a window over many
        devices.
    guess
        The iterate ``x_1 … x_W``.
    inputs
        Inputs of the W steps.
    scale
        Typical size of each coordinate, broadcastable to ``(D,)``, or None.
    count
        Number of the iteration, for models that draw probes.
    tolerance
        Largest residual of a step that counts as found; with 0, only what the iterate has bit for
        bit is found.
    left
        Number of steps of the window that are inside the chain.
    axis
        How the W steps are part of the window; by default they are all of it.
    """
    chart = recurrence.chart
    arguments = preceding(anchor, guess)
    values, aux, operator, products = method.jacobian.linearise(
        recurrence, arguments, inputs, axis.own(count)
    )
    start = chart.coordinates(anchor)
    x = jax.vmap(chart.coordinates)(guess)
    y = jax.vmap(chart.coordinates)(values)
    finite = jax.vmap(all_finite)(values)

    if scale is None:
        sizes = observed_scale(y, start, finite)
        scale = sizes[-1]
    else:
        sizes = scale
    # A chain that ranges wider than its scale lets a correction range as wide.
    spread = jnp.maximum(_spread(jnp.where(finite[:, None], y, x)), scale)
    gap = residual_of(recurrence, values, guess, y, x, sizes, finite, tolerance)

    # How well the linear model explains the last move: it bounds the norms and mends the model.
    usable = finite & jnp.isfinite(operator.norm())
    operator = operator.scaled(jnp.where(usable, 1, 0).astype(y.dtype))
    miss = y - memory.value - operator.apply(memory.step)
    move = memory.step / scale
    # A step that returns its argument, as a rejected proposal does, is the identity nearby: there
    # the model needs no bound, and what it predicts tells nothing of the step's other branch.
    stays = (y == jax.vmap(chart.coordinates)(arguments)).all(axis=-1)
    norm = operator.rescaled(scale).norm()
    cap = memory.cap
    if method.cap is not None:
        learned = method.cap.update(
            cap, norm, jnp.linalg.norm(miss / scale, axis=-1), jnp.linalg.norm(move, axis=-1)
        )
        cap = jnp.where(memory.known & finite & ~stays, learned, cap)
    capped = jnp.minimum(1, cap / jnp.where(norm > 0, norm, 1))
    trust = method.damping * jnp.where(stays, 1, capped)
    model, operator = operator, operator.scaled(trust)

    contraction = _contraction((y - memory.value) / scale, move, norm, memory.known)
    contraction = recurrence.edge_contraction(contraction)
    margin = None
    if recurrence.margin is not None:
        margin = margins_of(recurrence.margin, aux, len(gap))
    own = look_at(gap, contraction, margin, finite, axis.positions(len(y)), left, tolerance)
    defect = jnp.where(finite[:, None], y - x, 0)
    region = method.trust_region
    if region is None:
        passed_on, blocks = axis.solve_before(operator, defect, own)
    else:
        passed_on, blocks = _in_region(region, operator, defect, gap, scale), repeated(own, 1)

    def again(change: jax.Array) -> jax.Array:
        if region is None:
            return axis.solve_again(operator, change, passed_on[0])
        return _in_region(region, operator, change, gap, scale)

    def trusted(correction: jax.Array) -> jax.Array:
        """Return the corrections of the arguments, no longer than the model is trusted."""
        if method.radius is None:
            return correction
        return clip_length(correction, method.radius, spread)

    correction = trusted(passed_on)
    mended = jnp.zeros_like(y)
    for product in products:
        missing = trust[:, None] * (product(correction) - model.apply(correction))
        mended = jnp.where(usable[:, None] & jnp.isfinite(missing), missing, 0)
        correction = trusted(again(defect + mended))
    if not products and not method.jacobian.exact:
        rank_one = secant(miss, memory.step, usable & memory.known, scale)
        correction = trusted(again(defect + rank_one.apply(correction)))
        mended = rank_one.apply(correction)
    z = y + operator.apply(correction) + mended
    z = jnp.where(jnp.isfinite(z).all(-1, keepdims=True), z, y)
    moved = jax.vmap(chart.place)(values, z)
    # What is not finite begins anew from the last state before it, lest states that left the
    # region where the step can be computed, and those that are guessed from them, never return.
    sound = leading(finite)
    restart = select(sound > 0, at(moved, sound - 1), anchor)
    moved = select(finite, moved, repeated(restart, len(gap)))
    before = axis.before(anchor, moved)
    landed = jnp.where(finite[:, None], z, chart.coordinates(restart))
    step = preceding(chart.coordinates(before) - start, landed - x)
    remembered = Memory(
        cap,
        jnp.where(finite[:, None], y, 0),
        jnp.where(jnp.isfinite(step), step, 0),
        finite,
    )
    found = conclude(blocks, len(y), left, tolerance)
    return Iteration(
        values, aux, moved, before, remembered, model, usable, spread, finite, gap, found
    )


def _in_region(
    region: TrustRegion, operator: Operator, change: jax.Array, gap: jax.Array, scale: jax.Array
) -> jax.Array:
    """Return the corrections of the arguments inside a trust region."""
    # It weighs what is exact already against what comes after, unless they are cut apart.
    exact = leading(gap == 0)
    positions = jnp.arange(len(gap))
    change = jnp.where((positions >= exact)[:, None], change, 0)
    beyond = operator.scaled(jnp.where(positions > exact, 1, 0).astype(change.dtype))
    return delayed(region.solve(beyond.rescaled(scale), change / scale) * scale)


def _contraction(change: jax.Array, move: jax.Array, norm: jax.Array, known: jax.Array) -> Any:
    """Return how much each step shrinks an error of its argument, at most 1, shape ``(W,)``.

    The larger of what the last move showed and what the model says.
    """
    shift = jnp.linalg.norm(move, axis=-1)
    moved = known & (shift > 0)
    observed = jnp.linalg.norm(change, axis=-1) / jnp.where(shift > 0, shift, 1)
    return jnp.where(moved, jnp.clip(jnp.maximum(observed, norm), 0, 1), 1)


def _spread(x: jax.Array) -> jax.Array:
    """Return a standard deviation over time that a few wild states do not move, shape ``(D,)``."""
    some = x[:: -(-len(x) // SPREAD_STATES)]
    deviation = jnp.median(jnp.abs(some - jnp.median(some, axis=0)), axis=0)
    # The median of |z| for a standard normal z.
    return deviation / 0.6745
