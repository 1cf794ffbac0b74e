"""How the steps of an algorithm are found: by the loop, by a kernel of ours, or as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import STATIC, PyTree, any_traced, as_partial, pytree
from parallel_mcmc.blackjax.dependence import read_leaves
from parallel_mcmc.blackjax.generic import NotSolvable, as_steps, default_method, native_method
from parallel_mcmc.blackjax.recognise import both_steps, recognised
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.choice.runner import choose_runner
from parallel_mcmc.kernels import Kernel
from parallel_mcmc.kernels.chain import InLanes, Runner, Sequential
from parallel_mcmc.solver.chart import is_real
from parallel_mcmc.solver.defaults import default_max_iterations, default_tolerance
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.shooting import Shooting
from parallel_mcmc.solver.system import solve_recurrence

LARGEST_MISS = 2e-6
"""In single precision, how far a step may be from what the state before it gives."""


LEAST_MEASURED = 256
"""Steps of a run on a CPU from which on the ways are compared."""


class Run(NamedTuple):
    """Steps of an algorithm and how they were found."""

    final_state: PyTree
    history: PyTree
    """What ``transform`` made of each state and info, leading axis T."""
    iterations: jax.Array
    """Newton iterations; 0 for the sequential loop."""
    fallback_steps: jax.Array
    """Steps that the sequential loop had to finish."""


@pytree
@dataclasses.dataclass(frozen=True)
class SequentialPlan:
    """The algorithm's own step, in a loop."""

    step: Callable[..., tuple[PyTree, PyTree]]
    window: ClassVar[int] = 1

    def run(self, transform: Callable, state: PyTree, keys: jax.Array) -> Run:
        """Make one step for each of ``keys``."""

        def one_step(state: PyTree, key: jax.Array) -> tuple[PyTree, PyTree]:
            state, info = self.step(key, state)
            return state, transform(state, info)

        final, history = jax.lax.scan(one_step, state, keys)
        return Run(final, history, jnp.array(0), jnp.array(0))


@pytree
@dataclasses.dataclass(frozen=True)
class NativePlan:
    """The steps found by a kernel of ours that is known to take the same ones."""

    step: Callable[..., tuple[PyTree, PyTree]]
    kernel: Kernel
    runner: Runner

    @property
    def window(self) -> int:
        """Steps found together."""
        return self.runner.window

    def run(self, transform: Callable, state: PyTree, keys: jax.Array) -> Run:
        """Find the steps of all ``keys`` together."""
        solution, known = self.runner.solve(self.kernel, state, keys)
        leave = self.kernel.bind(state.position).leave
        states = type(state)(*jax.vmap(leave)(solution.states))
        before = jax.tree.map(
            lambda first, leaf: jnp.concatenate([jnp.asarray(first)[None], leaf[:-1]]),
            state,
            states,
        )
        # The rest of BlackJAX's info, such as the proposal, costs a batch of steps, but only if
        # `transform` asks for it: the compiler leaves out what is not used.
        info = jax.vmap(self.step)(keys, before)[1]
        fields = [name for name in known._fields if name in info._fields]
        info = info._replace(**{name: getattr(known, name) for name in fields})
        return Run(
            jax.tree.map(lambda leaf: leaf[-1], states),
            jax.vmap(transform)(states, info),
            solution.iterations,
            solution.fallback_steps,
        )


@pytree
@dataclasses.dataclass(frozen=True)
class LoopPlan:
    """The steps in our loop, or in BlackJAX's where ``transform`` reads what only that tells.

    That is the proposal, for example: to make it would take every step of ours once more.
    """

    step: Callable[..., tuple[PyTree, PyTree]]
    kernel: Kernel
    window: ClassVar[int] = 1

    def run(self, transform: Callable, state: PyTree, keys: jax.Array) -> Run:
        """Make one step for each of ``keys``."""
        if self._asks_for_more(transform, state, keys[0]):
            return SequentialPlan(self.step).run(transform, state, keys)
        return NativePlan(self.step, self.kernel, Sequential()).run(transform, state, keys)

    def _asks_for_more(self, transform: Callable, state: PyTree, key: jax.Array) -> bool:
        theirs, ours = jax.eval_shape(partial(both_steps, self.step), self.kernel, state, key)
        info = theirs[1]
        reads = read_leaves(transform, state, info)[-len(jax.tree.leaves(info)) :]
        read = jax.tree.unflatten(jax.tree.structure(info), reads)
        more = {name: getattr(read, name) for name in info._fields if name not in ours[1]._fields}
        return any(jax.tree.leaves(more))


@pytree
@dataclasses.dataclass(frozen=True)
class GenericPlan:
    """The algorithm's own steps, solved together."""

    step: Callable[..., tuple[PyTree, PyTree]]
    init: Callable[..., PyTree]
    method: Newton | None
    window: int = dataclasses.field(metadata=STATIC)

    def run(self, transform: Callable, state: PyTree, keys: jax.Array) -> Run:
        """Find the steps of all ``keys`` together."""
        tolerance = _tolerance(state)
        steps = as_steps(self.step, self.init, state, keys, tolerance)
        total = keys.shape[0]
        solution, info = solve_recurrence(
            steps.recurrence,
            default_method(steps, state) if self.method is None else self.method,
            state,
            steps.inputs,
            window=self.window,
            max_iterations=default_max_iterations(total, self.window),
            tolerance=tolerance,
        )
        return Run(
            jax.tree.map(lambda leaf: leaf[-1], solution.states),
            jax.vmap(transform)(solution.states, info),
            solution.iterations,
            solution.fallback_steps,
        )


def _plan_on_cpu(
    algorithm: Any, window: int | None, state: PyTree, keys: jax.Array
) -> SequentialPlan | LoopPlan | NativePlan:
    """Return the faster on a CPU: shooting, our loop or BlackJAX's.

    What is traced, by ``jax.jit`` for example, cannot be timed: then it is our loop, which draws
    all random numbers in one batch. A short run is not worth a trial.
    """
    step = as_partial(algorithm.step)
    short = len(keys) < LEAST_MEASURED
    if hasattr(algorithm, "sample") or len(keys) == 0 or (short and not any_traced(state, keys)):
        return SequentialPlan(step)
    found = recognised(algorithm, state, keys[0])
    if found is None:
        return SequentialPlan(step)
    runner: Runner = Sequential()
    if not (short or found.traced):
        one = jax.tree.map(lambda leaf: leaf[None], (state, keys))
        runner, _ = choose("auto", window, found.kernel, *one)
    if isinstance(runner, Sequential):
        return LoopPlan(step, found.kernel)
    return NativePlan(step, found.kernel, runner)


def _tolerance(state: PyTree) -> float:
    """Return the largest miss of a step whose decisions are not known.

    In single precision a step is accepted only where it agrees to a few units in the last place.
    """
    dtype = jnp.result_type(*[leaf for leaf in jax.tree.leaves(state) if is_real(leaf)], 0.0)
    return min(default_tolerance(dtype), LARGEST_MISS)


def choose_plan(
    algorithm: Any,
    solver: str | Newton | Shooting,
    window: int | None,
    state: PyTree,
    keys: jax.Array,
) -> SequentialPlan | LoopPlan | NativePlan | GenericPlan:
    """Return how the steps of ``algorithm`` are found, for the arguments of the entry function.

    Raises
    ------
    NotSolvable
        If parallel steps are wanted of a variational algorithm.
    ValueError
        If ``solver`` or ``window`` is not one of the accepted values.
    """
    runner = choose_runner(solver, window, max(keys.shape[0], 1))
    if isinstance(solver, str) and solver == "auto" and isinstance(runner, Sequential):
        return _plan_on_cpu(algorithm, window, state, keys)
    if isinstance(runner, Sequential) or keys.shape[0] == 0:
        return SequentialPlan(as_partial(algorithm.step))
    if hasattr(algorithm, "sample"):
        raise NotSolvable("it is a variational one, whose steps are no Markov chain")
    step, given = as_partial(algorithm.step), solver if isinstance(solver, Newton) else None
    found = recognised(algorithm, state, keys[0])
    if isinstance(runner, InLanes):
        if found is None:
            raise NotSolvable("pmc.Shooting() is for blackjax.mala and blackjax.hmc")
        return NativePlan(step, found.kernel, runner)
    if found is None:
        return GenericPlan(step, as_partial(algorithm.init), given, runner.window)
    method = given or native_method(state.position)
    return NativePlan(step, found.kernel, dataclasses.replace(runner, method=method))
