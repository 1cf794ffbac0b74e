"""One chain of a kernel, solved in parallel or by the plain loop: the pure core of the driver."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import STATIC, PyTree, at, num_steps, pytree
from parallel_mcmc.kernels.base import BoundKernel, Kernel
from parallel_mcmc.rows.cut import data_bytes
from parallel_mcmc.solver.defaults import default_max_iterations, default_tolerance
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.plain_loop import run_sequentially
from parallel_mcmc.solver.shooting import default_max_rounds, shoot_in_windows
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.system import solve_recurrence, stride_of
from parallel_mcmc.solver.timeaxis import ONE_DEVICE, TimeAxis


class ChainStats(NamedTuple):
    """How a chain was solved; every field is a scalar, one per chain and segment."""

    converged: jax.Array
    """Whether the parallel iteration reached every state; true for the plain loop."""
    iterations: jax.Array
    """Newton iterations, or rounds of shooting; 0 for the plain loop."""
    gradient_evaluations: jax.Array
    """Evaluations of the log density with its gradient, Jacobian-vector products included; of
    the log density alone, or of whole steps, where the kernel takes no gradient."""
    residual: jax.Array
    """Largest residual of an accepted step, in standard deviations: the posterior's by the
    metric, or those observed where the kernel has no metric."""
    fallback_steps: jax.Array
    """Steps that the plain loop had to finish."""
    choice: Any = None
    """How the solver was chosen, where the driver chose it."""


class Chain(NamedTuple):
    """Draws 1 … T of a chain: the leading axis of ``states`` and ``info`` is T."""

    states: PyTree
    info: PyTree
    stats: ChainStats


@pytree
@dataclasses.dataclass(frozen=True)
class Parallel:
    """Solve a chain by a parallel Newton method over a sliding window.

    Without a ``method`` it is the one that suits the kernel.
    """

    method: Newton | None
    window: int = dataclasses.field(metadata=STATIC)
    tolerance: float | None = None
    max_iterations: int | None = dataclasses.field(default=None, metadata=STATIC)
    axis: TimeAxis = dataclasses.field(default=ONE_DEVICE, metadata=STATIC)
    """Where there are several devices: how the steps of one of them are part of a window."""

    def run(self, kernel: Kernel, state: PyTree, keys: jax.Array) -> Chain:
        """Return the chain that follows ``state``, one draw for each of ``keys``.

        Over several devices, keys and draws are those of one device: its block of every window.
        """
        solution, info = self.solve(kernel, state, keys)
        bound = kernel.bind(state.position)
        # Only what is unknown is found from its coordinates.
        unknown = solution.evaluations // self.stride(kernel, state, keys)
        lifts = unknown * bound.gradients_per_lift
        gradients = solution.evaluations * bound.gradients_per_step + lifts
        stats = _stats_of(solution, gradients)
        return Chain(jax.vmap(bound.leave)(solution.states), info, stats)

    def solve(self, kernel: Kernel, state: PyTree, keys: jax.Array) -> tuple[Solution, PyTree]:
        """Return the solver's own result: states in whitened coordinates, and the infos."""
        bound = kernel.bind(state.position)
        start = bound.enter(state)
        total, window = keys.shape[0] * self.axis.size, self._window_of(keys)
        dtype = jax.eval_shape(bound.recurrence.chart.coordinates, start).dtype
        return solve_recurrence(
            bound.recurrence,
            self.method or bound.method,
            start,
            jax.vmap(bound.draw)(keys),
            window=window,
            max_iterations=self.max_iterations or default_max_iterations(total, window),
            tolerance=default_tolerance(dtype) if self.tolerance is None else self.tolerance,
            scale=bound.solver_scale(dtype),
            axis=self.axis,
            total=total,
        )

    def stride(self, kernel: Kernel, state: PyTree, keys: jax.Array) -> int:
        """Return every how many of the draws for ``keys`` a state is unknown."""
        method = self.method or kernel.bind(state.position).method
        return stride_of(method, self._window_of(keys), self.axis)

    def _window_of(self, keys: jax.Array) -> int:
        return min(self.window, keys.shape[0] * self.axis.size)


@pytree
@dataclasses.dataclass(frozen=True)
class Sequential:
    """Run a chain by the plain loop, with all its randomness drawn in one batch."""

    window: ClassVar[int] = 1
    """Draws that are found together."""

    def run(self, kernel: Kernel, state: PyTree, keys: jax.Array) -> Chain:
        """Return the chain that follows ``state``, one draw for each of ``keys``."""
        solution, info = self.solve(kernel, state, keys)
        bound = kernel.bind(state.position)
        gradients = solution.evaluations * bound.gradients_per_step
        return Chain(jax.vmap(bound.leave)(solution.states), info, _stats_of(solution, gradients))

    def solve(self, kernel: Kernel, state: PyTree, keys: jax.Array) -> tuple[Solution, PyTree]:
        """Return the states in whitened coordinates, as a solver would, and the infos."""
        bound = kernel.bind(state.position)
        states, info = run_sequentially(
            bound.recurrence, bound.enter(state), jax.vmap(bound.draw)(keys)
        )
        solution = Solution(
            states=states,
            converged=jnp.array(True),
            iterations=jnp.array(0),
            evaluations=jnp.array(keys.shape[0]),
            residual=jnp.zeros(()),
            fallback_steps=jnp.array(0),
            residual_history=jnp.zeros(0),
            growth=jnp.array(jnp.nan),
        )
        return solution, info


LARGE_DATA = 1e6
"""Bytes of the data of a step from which on it pays to guess the draws before each lane: beside
it a guess costs nothing, and few posteriors of less data are so nearly Gaussian that it helps."""


LAST_LANES = 4
"""One of so many lanes, or fewer, go on in a batch of their own where there are as much data."""


def lane_foresight(bound: BoundKernel, state: PyTree, keys: jax.Array) -> int:
    """Return the draws that it pays to guess before each lane.

    Parameters
    ----------
    bound
        A kernel.
    state
        A state of its recurrence.
    keys
        Of draws, of any shape.
    """
    if not bound.foresight:
        return 0
    draw = jax.eval_shape(bound.draw, jax.eval_shape(lambda: keys.ravel()[0]))
    data = data_bytes(jax.make_jaxpr(bound.recurrence.step)(state, draw))
    return bound.foresight if data > LARGE_DATA else 0


@pytree
@dataclasses.dataclass(frozen=True)
class InLanes:
    """Run chains by shooting: the lanes of all chains are steps of one batch."""

    lanes: int = dataclasses.field(metadata=STATIC)
    """Of each chain."""
    window: int = dataclasses.field(metadata=STATIC)
    """Draws that are cut into lanes."""
    tolerance: float | None = None

    def run(self, kernel: Kernel, state: PyTree, keys: jax.Array) -> Chain:
        """Return the chain that follows ``state``, one draw for each of ``keys``."""
        one = self.run_together(kernel, *jax.tree.map(lambda leaf: leaf[None], (state, keys)))
        return jax.tree.map(lambda leaf: leaf[0], one)

    def run_together(self, kernel: Kernel, states: PyTree, keys: jax.Array) -> Chain:
        """Return the chains that follow ``states``: their axis leads everything."""
        solution, info = self._solve_together(kernel, states, keys)
        bound = kernel.bind(at(states, 0).position)
        draws = jax.vmap(jax.vmap(bound.leave))(solution.states)
        gradients = solution.evaluations * bound.gradients_per_step
        return Chain(draws, info, _stats_of(solution, gradients))

    def solve(self, kernel: Kernel, state: PyTree, keys: jax.Array) -> tuple[Solution, PyTree]:
        """Return the solver's own result: states in whitened coordinates, and the infos."""
        one = jax.tree.map(lambda leaf: leaf[None], (state, keys))
        return jax.tree.map(lambda leaf: leaf[0], self._solve_together(kernel, *one))

    def _solve_together(
        self, kernel: Kernel, states: PyTree, keys: jax.Array
    ) -> tuple[Solution, PyTree]:
        bound = kernel.bind(at(states, 0).position)
        starts = jax.vmap(bound.enter)(states)
        dtype = jax.eval_shape(bound.recurrence.chart.coordinates, at(starts, 0)).dtype
        foresight = lane_foresight(bound, at(starts, 0), keys)
        return shoot_in_windows(
            bound.imitated if foresight else bound.recurrence,
            starts,
            jax.vmap(jax.vmap(bound.draw))(keys),
            window=self.window,
            lanes=self.lanes,
            max_rounds=default_max_rounds(self.lanes),
            tolerance=default_tolerance(dtype) if self.tolerance is None else self.tolerance,
            scale=bound.solver_scale(dtype),
            foresight=foresight,
            few=-(-self.lanes * num_steps(states) // LAST_LANES) if foresight else 0,
        )


Runner = Parallel | Sequential | InLanes
"""How chains are run."""


def _stats_of(solution: Solution, gradients: jax.Array) -> ChainStats:
    return ChainStats(
        solution.converged,
        solution.iterations,
        gradients,
        solution.residual,
        solution.fallback_steps,
    )


def run_chains(runner: Runner, kernel: Kernel, states: PyTree, keys: jax.Array) -> Chain:
    """Return the draws of the chains that one device has: their axis leads everything."""
    if isinstance(runner, InLanes):
        return runner.run_together(kernel, states, keys)

    def run(chain: tuple) -> Chain:
        return runner.run(kernel, *chain)

    chains = (states, keys)
    if keys.shape[0] == 1:
        only = run(jax.tree.map(lambda leaf: leaf[0], chains))
        return jax.tree.map(lambda leaf: leaf[None], only)
    return map_chains(runner, run, chains)


def map_chains(runner: Runner, run: Callable[[Any], Any], chains: PyTree) -> PyTree:
    """Return ``run`` of every chain, by ``runner``: of every entry of the leading axis."""
    return jax.lax.map(run, chains) if is_one_by_one(runner) else jax.vmap(run)(chains)


def is_one_by_one(runner: Runner) -> bool:
    """Whether chains on one device are drawn one after the other, not all in one batch."""
    # A window of one chain fills a CPU.
    return isinstance(runner, Parallel) and jax.default_backend() == "cpu"
