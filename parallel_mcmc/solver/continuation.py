"""What enters a sliding window: the last linearisation of its steps, run on."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, num_steps
from parallel_mcmc.solver.chart import is_real
from parallel_mcmc.solver.operators import DenseOperator, Operator
from parallel_mcmc.solver.safeguards import clip_length

MOST_DRIVES = 32
"""Numbers of an input that their effect is fitted for: a fit of more costs too much."""


def fits_inputs(inputs: PyTree, window: int, others: int = 0) -> bool:
    """Whether the effect of ``inputs``, leading axis T, can be fitted to a window of steps.

    Together with that of so many ``others``. Without it a continued tail would be no better than a
    state that stays, for a chain that is driven by noise; and what is no real number, such as a
    key, has no linear effect.
    """
    leaves = jax.tree.leaves(inputs)
    drives = sum(math.prod(leaf.shape[1:]) for leaf in leaves)
    enough = drives + others <= min(MOST_DRIVES, window // 2)
    return all(is_real(leaf) for leaf in leaves) and drives > 0 and enough


@full_precision()
def fitted_operator(x: jax.Array, y: jax.Array, inputs: PyTree) -> DenseOperator:
    """Return the ``A`` of ``y_t = A x_t + b + B u_t`` by least squares, for every step.

    Parameters
    ----------
    x, y
        Arguments and values of W steps, shape ``(W, D)``.
    inputs
        Their inputs, all real.
    """
    features = jnp.concatenate([x, _flat(inputs).astype(x.dtype)], axis=1)
    # In units of their own, so that one ridge suits all.
    sizes = jnp.std(features, axis=0)
    sizes = jnp.where(sizes > 0, sizes, 1)
    features = (features - jnp.mean(features, axis=0)) / sizes
    effect = _least_squares(features, y - jnp.mean(y, axis=0)) / sizes[:, None]
    dim = x.shape[1]
    return DenseOperator(jnp.broadcast_to(effect[:dim].T, (len(x), dim, dim)))


@full_precision()
def continued(
    operator: Operator,
    x: jax.Array,
    y: jax.Array,
    inputs: PyTree,
    coming: PyTree,
    last: jax.Array,
    reach: jax.Array,
) -> jax.Array:
    """Return coordinates for the steps after a window, without an evaluation of the step.

    The steps of the window are ``y_t = A_t x_t + b_t``. With the mean of the ``A_t``, and
    ``b_t = b + B u_t`` by least squares, the recurrence ``z_t = A z_{t-1} + b + B u_t`` goes on
    from the last state.

    Parameters
    ----------
    operator, x, y
        ``A_t``, the arguments and the values of the W steps, ``(W, D)``.
    inputs, coming
        Inputs of the W steps, and of the W steps after them, all real.
    last
        Coordinates of the last state, shape ``(D,)``, from which it goes on.
    reach
        Root mean square length of a displacement from the last state at most, ``(D,)``, in each
        coordinate's units.

    Returns
    -------
    jax.Array
        Shape ``(W, D)``; ``last`` itself where it does not come out finite.
    """
    u, ahead = (_flat(tree).astype(y.dtype) for tree in (inputs, coming))
    middle = jnp.mean(u, axis=0)
    u, ahead = u - middle, ahead - middle
    b = y - operator.apply(x)
    drift = jnp.mean(b, axis=0)
    effect = _least_squares(u, b - drift)
    start = jnp.mean(operator.apply(jnp.broadcast_to(last, y.shape)), axis=0) - last
    moves = operator.steady(start + drift + ahead @ effect)
    moves = clip_length(moves, 1.0, reach)
    return last + jnp.where(jnp.isfinite(moves).all(), moves, 0)


def _least_squares(features: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the matrix that takes ``features`` nearest to ``targets``."""
    # A ridge of the size of the rounding keeps features that do not vary harmless.
    gram = features.T @ features
    limits = jnp.finfo(gram.dtype)
    ridge = math.sqrt(limits.eps) * jnp.trace(gram) + limits.tiny
    return jnp.linalg.solve(
        gram + ridge * jnp.eye(len(gram), dtype=gram.dtype), features.T @ targets
    )


def _flat(tree: PyTree) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([leaf.reshape(num_steps(tree), -1) for leaf in leaves], axis=-1)
