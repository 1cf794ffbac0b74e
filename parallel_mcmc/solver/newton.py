"""One parallel Newton iteration over a window of steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, all_finite, preceding, select
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.operators import Operator
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.safeguards import Memory, clip_length, secant
from parallel_mcmc.solver.timeaxis import ONE_DEVICE, TimeAxis, delayed

# Two evaluations of one step may differ by this many units in the last place: a batch sums in
# another order than a single step.
ROUNDING_ULPS = 16

# States that the spread of an iterate is judged by: a median of all would cost a long sort.
SPREAD_STATES = 256

# An accept decision is taken for settled where its margin exceeds this many times the error of
# the argument, in units of the scale: a bound on the slope of the log acceptance ratio.
MARGIN_SLOPE = 30


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
    """The model of the Jacobian before it is capped; zero where it is not finite."""
    finite: jax.Array
    """Whether each of the values is finite, shape ``(W,)``."""
    gap: jax.Array
    """``|f(x_{t-1}) - x_t|`` in units of the scale and beyond rounding, shape ``(W,)``; infinite
    where a value is not finite or a non-numeric part differs."""
    residual: jax.Array
    """Estimate of ``|f(v_t) - v_{t+1}|`` for the ``values`` v, in units of the scale and beyond
    rounding, shape ``(W,)``; infinite where a value is not finite, a non-numeric part differs or
    a decision may change."""


def newton_iteration(
    method: Newton,
    recurrence: Recurrence,
    anchor: PyTree,
    guess: PyTree,
    inputs: PyTree,
    memory: Memory,
    scale: jax.Array | None,
    count: jax.Array,
    axis: TimeAxis = ONE_DEVICE,
    origin: PyTree | None = None,
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
    axis
        How the W steps are part of the window; by default they are all of it.
    origin
        The exact state before the window, if that is not ``anchor``.
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
        first = start if origin is None else chart.coordinates(origin)
        sizes = _observed_scale(y, first, finite, axis)
        scale = axis.last(sizes)
    else:
        sizes = scale
    # A chain that ranges wider than its scale lets a correction range as wide.
    spread = jnp.maximum(_spread(jnp.where(finite[:, None], y, x), axis), scale)
    gap = _residual(recurrence, values, guess, y, x, sizes, finite)

    # How well the linear model explains the last move: it bounds the norms and mends the model.
    usable = finite & jnp.isfinite(operator.norm())
    operator = operator.scaled(jnp.where(usable, 1, 0).astype(y.dtype))
    miss = (y - memory.value - operator.apply(memory.step)) / scale
    move = memory.step / scale
    # A step that returns its argument, as a rejected proposal does, is the identity nearby: there
    # the model needs no bound, and what it predicts tells nothing of the step's other branch.
    stays = (y == jax.vmap(chart.coordinates)(arguments)).all(axis=-1)
    norm = operator.rescaled(scale).norm()
    cap = memory.cap
    if method.cap is not None:
        learned = method.cap.update(
            cap, norm, jnp.linalg.norm(miss, axis=-1), jnp.linalg.norm(move, axis=-1)
        )
        cap = jnp.where(memory.known & finite & ~stays, learned, cap)
    capped = jnp.minimum(1, cap / jnp.where(norm > 0, norm, 1))
    trust = method.damping * jnp.where(stays, 1, capped)
    model, operator = operator, operator.scaled(trust)

    def argument(change: jax.Array) -> jax.Array:
        """Return the correction of each argument, no longer than the model is trusted."""
        if method.trust_region is None:
            correction = axis.solve_before(operator, change)
        else:
            # It weighs what is exact already against what comes after, unless they are cut apart.
            (exact,) = axis.leading(gap == 0)
            positions = axis.positions(len(y))
            change = jnp.where((positions >= exact)[:, None], change, 0)
            beyond = operator.scaled(jnp.where(positions > exact, 1, 0).astype(y.dtype))
            moved = method.trust_region.solve(beyond.rescaled(scale), change / scale)
            correction = delayed(moved * scale)
        if method.radius is None:
            return correction
        return clip_length(correction / spread, method.radius) * spread

    defect = jnp.where(finite[:, None], y - x, 0)
    correction = argument(defect)
    mended = jnp.zeros_like(y)
    for product in products:
        missing = trust[:, None] * (product(correction) - model.apply(correction))
        mended = jnp.where(usable[:, None] & jnp.isfinite(missing), missing, 0)
        correction = argument(defect + mended)
    if not products and not method.jacobian.exact:
        rank_one = secant(miss, move, usable & memory.known)
        correction = argument(defect + rank_one.apply(correction / scale) * scale)
        mended = rank_one.apply(correction / scale) * scale
    z = y + operator.apply(correction) + mended
    z = jnp.where(jnp.isfinite(z).all(-1, keepdims=True), z, y)
    moved = select(finite, jax.vmap(chart.place)(values, z), guess)
    before = axis.before(anchor, moved)
    step = preceding(chart.coordinates(before) - start, jnp.where(finite[:, None], z, x) - x)
    remembered = Memory(
        cap,
        jnp.where(finite[:, None], y, 0),
        jnp.where(jnp.isfinite(step), step, 0),
        finite,
    )
    contraction = _contraction((y - memory.value) / scale, move, norm, memory.known)
    margin = None
    if recurrence.margin is not None:
        # The size, because there may be no information to take it from.
        margin = jax.vmap(recurrence.margin, axis_size=len(gap))(aux)
    residual = _next_residual(gap, contraction, margin, axis)
    return Iteration(values, aux, moved, before, remembered, model, finite, gap, residual)


def _contraction(change: jax.Array, move: jax.Array, norm: jax.Array, known: jax.Array) -> Any:
    """Return how much each step shrinks an error of its argument, at most 1, shape ``(W,)``.

    The larger of what the last move showed and what the model says.
    """
    shift = jnp.linalg.norm(move, axis=-1)
    moved = known & (shift > 0)
    observed = jnp.linalg.norm(change, axis=-1) / jnp.where(shift > 0, shift, 1)
    return jnp.where(moved, jnp.clip(jnp.maximum(observed, norm), 0, 1), 1)


def _next_residual(
    gap: jax.Array,
    contraction: jax.Array,
    margin: jax.Array | None,
    axis: TimeAxis = ONE_DEVICE,
) -> jax.Array:
    """Return the residuals that the values would have among themselves, shape ``(W,)``.

    ``f(x_t)`` was evaluated at an argument that misses the value ``f(x_{t-1})`` by ``gap_t``; so
    far as the step contracts, ``f(f(x_{t-1}))`` is nearer to it. Where the step may fall on the
    other side of a decision, nothing is known of the residual.
    """
    following = axis.following(contraction, 1)
    if margin is not None:
        undecided = gap * MARGIN_SLOPE > axis.following(margin, jnp.inf)
        gap = jnp.where(undecided, jnp.inf, gap)
    return jnp.where(gap == 0, 0, gap * following)


def _observed_scale(
    y: jax.Array, anchor: jax.Array, finite: jax.Array, axis: TimeAxis = ONE_DEVICE
) -> jax.Array:
    """Root mean square distance from the anchor up to each step, shape ``(W, D)``.

    Step t is judged by the steps before it alone, so that a wild iterate further on cannot loosen
    the tolerance of a step that is about to be accepted.
    """
    square = jnp.where(finite[:, None], (y - anchor) ** 2, 0)
    steps = (axis.positions(len(y)) + 1).astype(y.dtype)[:, None]
    size = jnp.sqrt(axis.cumsum(square) / steps)
    return jnp.where(size > 0, size, 1)


def _spread(x: jax.Array, axis: TimeAxis = ONE_DEVICE) -> jax.Array:
    """Return a standard deviation over time that a few wild states do not move, shape ``(D,)``."""
    some = axis.sample(x, SPREAD_STATES)
    deviation = jnp.median(jnp.abs(some - jnp.median(some, axis=0)), axis=0)
    # The median of |z| for a standard normal z.
    return deviation / 0.6745


def _residual(
    recurrence: Recurrence,
    values: PyTree,
    guess: PyTree,
    y: jax.Array,
    x: jax.Array,
    sizes: jax.Array,
    finite: jax.Array,
) -> jax.Array:
    residual = jnp.max(_beyond_rounding(y, x) / sizes, axis=-1)
    rest = jax.vmap(recurrence.chart.rest)
    agree = finite
    for ours, theirs in zip(
        jax.tree.leaves(rest(values)), jax.tree.leaves(rest(guess)), strict=True
    ):
        agree &= (ours == theirs).all(axis=tuple(range(1, ours.ndim)))
    return jnp.where(agree, residual, jnp.inf)


def _beyond_rounding(a: jax.Array, b: jax.Array) -> jax.Array:
    rounding = ROUNDING_ULPS * jnp.finfo(a.dtype).eps * jnp.abs(a)
    return jnp.maximum(jnp.abs(a - b) - rounding, 0)
