"""Composition of kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_sequence
from parallel_mcmc._tree import PyTree, pytree
from parallel_mcmc.kernels.base import BoundKernel, Kernel, require_kernel
from parallel_mcmc.kernels.gibbs import differentiated
from parallel_mcmc.solver.chart import Euclidean
from parallel_mcmc.solver.recurrence import Recurrence


class CycleState(NamedTuple):
    """State of a cycle of kernels."""

    position: PyTree
    """Position of the chain."""
    states: tuple
    """What every kernel's own update returned in this transition."""

    @property
    def logdensity(self) -> Any:
        """Log density at the position, where the last kernel knows it."""
        return getattr(self.states[-1], "logdensity", None)


class CycleInfo(NamedTuple):
    """Information about one transition of a cycle."""

    infos: tuple
    """That of every kernel's own update."""


@pytree
@dataclasses.dataclass(frozen=True)
class CycleChart:
    """The position, and the momenta of the kernels that carry one."""

    def coordinates(self, state: CycleState) -> jax.Array:
        """Return position and momenta as one vector."""
        return Euclidean().coordinates(_free(state))

    def place(self, state: CycleState, coordinates: jax.Array) -> CycleState:
        """Return the state with another position and other momenta."""
        position, momenta = Euclidean().place(_free(state), coordinates)
        states = [
            s if momentum is None else s._replace(momentum=momentum)
            for s, momentum in zip(state.states, momenta, strict=True)
        ]
        return CycleState(position, tuple(states))

    def lift(self, state: CycleState, coordinates: jax.Array) -> CycleState:
        """Return the same: every kernel computes the rest when it is moved to the position."""
        return self.place(state, coordinates)

    def rest(self, state: CycleState) -> Any:
        """Return the parts of the position that are not floating point."""
        return Euclidean().rest(_free(state))


def _free(state: CycleState) -> tuple:
    return state.position, [getattr(s, "momentum", None) for s in state.states]


@pytree
@dataclasses.dataclass(frozen=True)
class Cycle:
    """A cycle of kernels; made by :func:`cycle`."""

    kernels: tuple[Any, ...]

    def init(self, position: PyTree, key: jax.Array | None = None) -> CycleState:
        """Return the state at ``position``; ``key`` is split among the kernels."""
        keys = [None] * len(self.kernels) if key is None else jax.random.split(key, self._count)
        states = [kernel.init(position, k) for kernel, k in zip(self.kernels, keys, strict=True)]
        return CycleState(states[-1].position, tuple(states))

    def move(self, state: CycleState, position: PyTree) -> CycleState:
        """Return the state at another position."""
        moved = [k.move(s, position) for k, s in zip(self.kernels, state.states, strict=True)]
        return CycleState(position, tuple(moved))

    def draw(self, key: jax.Array, position: PyTree | None = None) -> tuple:
        """Draw the random numbers of every kernel."""
        keys = jax.random.split(key, self._count)
        return tuple(kernel.draw(k, position) for kernel, k in zip(self.kernels, keys, strict=True))

    def step(self, state: CycleState, draw: tuple) -> tuple[CycleState, CycleInfo]:
        """Make one update by every kernel in turn; deterministic."""
        position, states, infos = state.position, [], []
        for kernel, own, numbers in zip(self.kernels, state.states, draw, strict=True):
            own, info = kernel.step(kernel.move(own, position), numbers)
            position = own.position
            states.append(own)
            infos.append(info)
        return CycleState(position, tuple(states)), CycleInfo(tuple(infos))

    def bind(self, position: PyTree) -> BoundKernel:
        """Return the kernel for positions like ``position``."""
        bound = [kernel.bind(position) for kernel in self.kernels]
        example = jax.eval_shape(self.init, position, jax.random.key(0))
        dim = jax.eval_shape(CycleChart().coordinates, example).size
        return BoundKernel(
            Recurrence(
                jax.tree_util.Partial(_step, self),
                CycleChart(),
                margin=jax.tree_util.Partial(_margin),
            ),
            lambda key: self.draw(key, position),
            _same,
            _same,
            sum(b.gradients_per_step + b.gradients_per_lift for b in bound),
            gradients_per_lift=0,
            scale=None,
            method=differentiated(dim),
        )

    @property
    def _count(self) -> int:
        return len(self.kernels)


def _step(kernel: Cycle, state: CycleState, draw: tuple) -> tuple[CycleState, CycleInfo]:
    return kernel.step(state, draw)


def _margin(info: CycleInfo) -> jax.Array:
    margins = [getattr(i, "accept_margin", jnp.inf) for i in info.infos]
    return jnp.min(jnp.stack([jnp.asarray(m) for m in margins]))


def _same(state: Any) -> Any:
    return state


def cycle(kernels: Sequence[Kernel]) -> Cycle:
    """Return the composition of kernels: a transition is one update by each of them in turn.

    Kernels of the same target keep it invariant, and so does their composition, whatever the parts
    of the position that each of them moves. Every kernel evaluates what it needs anew where the one
    before it has moved the position: one evaluation more a kernel.

    In parallel the whole transition is differentiated.

    Parameters
    ----------
    kernels
        The kernels, at least one, for the same positions.

    Returns
    -------
    Cycle
        A kernel with ``init``, ``draw`` and ``step``. Its state and its information hold those of
        the kernels in the order given.

    Raises
    ------
    TypeError
        If ``kernels`` is no sequence, or one of them is no kernel.
    ValueError
        If there is none.

    References
    ----------
    Tierney, Markov chains for exploring posterior distributions, Ann. Stat. 22(4), 1994.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> def logdensity(x):
    ...     return -0.5 * jnp.sum(x**2)
    >>> kernel = pmc.cycle([pmc.hmc(logdensity, 0.5, None, 3), pmc.rmh(logdensity, 0.5)])
    >>> samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(2), 100, progress_bar=False)
    >>> [info.is_accepted.shape for info in samples.info.infos]
    [(1, 100), (1, 100)]
    """
    kernels = require_sequence("kernels", kernels)
    if not kernels:
        raise ValueError("kernels must hold at least one kernel, got none")
    for index, kernel in enumerate(kernels):
        require_kernel(f"kernels[{index}]", kernel)
    return Cycle(kernels)
