"""Gibbs sampling with conditional updates of the user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from parallel_mcmc._errors import (
    require_arrays,
    require_callable,
    require_finite,
    require_key,
    require_like,
    require_sequence,
)
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, any_traced, as_partial, pytree
from parallel_mcmc.kernels.base import BoundKernel
from parallel_mcmc.kernels.whitened import LARGEST_DENSE
from parallel_mcmc.solver.chart import Euclidean, is_real
from parallel_mcmc.solver.jacobian import Dense, Diagonal
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import Recurrence


class GibbsState(NamedTuple):
    """State of a Gibbs sampler."""

    position: PyTree
    """Position of the chain."""


class GibbsInfo(NamedTuple):
    """Information about one sweep: there is none."""


def differentiated(dim: int) -> Newton:
    """Return the Newton method for a step of which no model of the Jacobian is known."""
    return Newton(Dense() if dim <= LARGEST_DENSE else Diagonal())


@pytree
@dataclasses.dataclass(frozen=True)
class Gibbs:
    """Gibbs kernel; made by :func:`gibbs`."""

    conditionals: tuple[Callable[[PyTree, PyTree], PyTree], ...]
    draw_noise: Callable[[jax.Array], Sequence[PyTree]]

    def init(self, position: PyTree, key: jax.Array | None = None) -> GibbsState:
        """Return the state at ``position``.

        Raises
        ------
        ValueError
            If the position has no floating-point entry or a non-finite one, if there is not one
            noise for every conditional, or if a conditional changes the structure, the shapes or
            the dtypes of the position.
        """
        position = require_arrays("initial_position", position)
        if not any(is_real(leaf) for leaf in jax.tree.leaves(position)):
            raise ValueError("initial_position must have a floating-point leaf, got none")
        require_finite("initial_position", position)
        noise = jax.eval_shape(self.draw_noise, jax.random.key(0))
        if not isinstance(noise, tuple | list) or len(noise) != len(self.conditionals):
            got = len(noise) if isinstance(noise, tuple | list) else type(noise).__name__
            raise ValueError(
                f"draw_noise must return a tuple with one entry for each of the "
                f"{len(self.conditionals)} conditionals, got {got}"
            )
        for index, (conditional, part) in enumerate(zip(self.conditionals, noise, strict=True)):
            after = jax.eval_shape(conditional, position, part)
            require_like(f"the value of conditionals[{index}]", after, position, "the position")
        return GibbsState(position)

    def move(self, state: GibbsState, position: PyTree) -> GibbsState:
        """Return the state at another position."""
        return GibbsState(position)

    def draw(self, key: jax.Array, position: PyTree | None = None) -> tuple:
        """Draw the noise of one sweep."""
        if not any_traced(key):
            key = require_key("key", key)
        return tuple(self.draw_noise(key))

    @full_precision()
    def step(self, state: GibbsState, draw: tuple) -> tuple[GibbsState, GibbsInfo]:
        """Make one sweep: every conditional in turn; deterministic."""
        position = state.position
        for conditional, noise in zip(self.conditionals, draw, strict=True):
            position = conditional(position, noise)
        return GibbsState(position), GibbsInfo()

    def bind(self, position: PyTree) -> BoundKernel:
        """Return the kernel for positions like ``position``."""
        dim = sum(leaf.size for leaf in jax.tree.leaves(position) if is_real(leaf))
        return BoundKernel(
            Recurrence(jax.tree_util.Partial(_step, self), Euclidean()),
            self.draw,
            _same,
            _same,
            gradients_per_step=1,
            gradients_per_lift=0,
            scale=None,
            method=differentiated(dim),
        )


def _step(kernel: Gibbs, state: GibbsState, draw: tuple) -> tuple[GibbsState, GibbsInfo]:
    return kernel.step(state, draw)


def _same(state: Any) -> Any:
    return state


def gibbs(
    conditionals: Sequence[Callable[[PyTree, PyTree], PyTree]],
    draw_noise: Callable[[jax.Array], Sequence[PyTree]],
) -> Gibbs:
    """Return a Gibbs kernel: a sweep over conditional updates.

    Every update is reparametrised: its randomness is in a noise that is drawn beforehand, and what
    it returns is a differentiable function of the position and of that noise. A normal conditional
    is ``mean + sd * z`` with ``z`` standard normal; a gamma one is a standard gamma number over
    its rate; any other is its inverse distribution function at a uniform number.

    Parameters
    ----------
    conditionals
        Functions ``conditional(position, noise) -> position``, applied in this order.
    draw_noise
        ``draw_noise(key)`` returns a tuple with one noise, any pytree, for each conditional. It
        must not depend on the position.

    Returns
    -------
    Gibbs
        A kernel with ``init``, ``draw`` and ``step``.

    Raises
    ------
    TypeError
        If ``conditionals`` is no sequence, or one of them or ``draw_noise`` is not callable.
    ValueError
        If there is no conditional.

    References
    ----------
    Geman and Geman, IEEE PAMI 6, 1984; in parallel: arXiv 2508.18413, section 3.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> def update_x(position, z):  # x | y, of two normals with correlation 0.8
    ...     return {**position, "x": 0.8 * position["y"] + 0.6 * z}
    >>> def update_y(position, z):
    ...     return {**position, "y": 0.8 * position["x"] + 0.6 * z}
    >>> kernel = pmc.gibbs([update_x, update_y], lambda key: tuple(jax.random.normal(key, (2,))))
    >>> start = {"x": jnp.array(0.0), "y": jnp.array(0.0)}
    >>> samples = pmc.sample(
    ...     jax.random.key(0), kernel, start, 100, solver="parallel", progress_bar=False
    ... )
    >>> bool(samples.stats.converged.all())
    True
    """
    conditionals = require_sequence("conditionals", conditionals)
    if not conditionals:
        raise ValueError("conditionals must hold at least one function, got none")
    for index, conditional in enumerate(conditionals):
        require_callable(f"conditionals[{index}]", conditional)
    require_callable("draw_noise", draw_noise)
    return Gibbs(tuple(as_partial(c) for c in conditionals), as_partial(draw_noise))
