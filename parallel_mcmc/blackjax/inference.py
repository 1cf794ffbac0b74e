"""``run_inference_algorithm``: BlackJAX's own loop over steps, solved in parallel."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from parallel_mcmc._errors import (
    require_arrays,
    require_callable,
    require_flag,
    require_key,
    warn_fallback,
)
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, any_traced, as_partial
from parallel_mcmc.blackjax.generic import NotSolvable, settled
from parallel_mcmc.blackjax.plans import Run, SequentialPlan, choose_plan
from parallel_mcmc.segments import SEGMENTS
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.shooting import Shooting


class NotParallelWarning(UserWarning):
    """An algorithm that cannot be solved in parallel was run by the sequential loop."""


def _state_and_info(state: PyTree, info: PyTree) -> tuple[PyTree, PyTree]:
    return state, info


def run_inference_algorithm(
    rng_key: jax.Array,
    inference_algorithm: Any,
    num_steps: int,
    initial_state: PyTree | None = None,
    initial_position: PyTree | None = None,
    transform: Callable[[PyTree, PyTree], PyTree] = _state_and_info,
    progress_bar: bool = False,
    *,
    solver: str | Newton | Shooting = "auto",
    window: int | None = None,
) -> tuple[PyTree, PyTree]:
    """Run a BlackJAX algorithm, as ``blackjax.util.run_inference_algorithm`` does.

    The chain is BlackJAX's for the same key. On an accelerator its steps are found together, by a
    parallel Newton method; on a CPU by shooting where that is faster, else by the sequential loop,
    compiled once for each algorithm object and shapes rather than at each call. ``blackjax.mala``
    and ``blackjax.hmc`` are recognised and solved by this package's kernels, in coordinates
    whitened by the metric; the step of any other algorithm is solved as it is.

    Parameters
    ----------
    rng_key
        A key of ``jax.random.key`` or ``jax.random.PRNGKey``, used as BlackJAX does.
    inference_algorithm
        A BlackJAX algorithm: ``init(position, rng_key)`` and ``step(rng_key, state)``. Compiled
        once for each object: make a new one if data that it closes over change.
    num_steps
        Number of steps.
    initial_state, initial_position
        Where the chain starts: one of the two.
    transform
        ``transform(state, info)`` is what the history holds of each step; both by default. Pass
        the same function again rather than a new lambda, which is compiled again.
    progress_bar
        Whether to show one; not shown where the call itself is traced. With versions of BlackJAX
        whose own function takes ``progress_bar`` before ``transform``, either order does.
    solver
        ``"parallel"``, ``"sequential"``, a :class:`parallel_mcmc.Newton` method,
        :class:`parallel_mcmc.Shooting`, or ``"auto"``: parallel on an accelerator; on a CPU what a
        trial finds faster, where ``blackjax.mala`` or ``blackjax.hmc`` make 256 steps or more.
        Where it finds nothing faster, or what is traced, as by ``jax.jit``, cannot be timed, this
        package's own loop makes their steps, if ``transform`` reads neither the proposal nor the
        momentum. All else is left to BlackJAX's step in a loop, as by ``"sequential"``. The steps
        are the same, up to the tolerance of :func:`parallel_mcmc.solve`.
    window
        Steps solved for together; by default 32 on a CPU, 4,096 on an accelerator.

    Returns
    -------
    tuple
        The final state, and the history: what ``transform`` returns, with a leading axis of
        ``num_steps``.

    Raises
    ------
    TypeError
        If ``rng_key`` is no key, ``inference_algorithm`` is no BlackJAX algorithm, the start holds
        what is no array, or ``progress_bar`` is neither True nor False.
    ValueError
        If not exactly one of ``initial_state`` and ``initial_position`` is given, or another
        argument is not one of the accepted values.

    Warns
    -----
    NotParallelWarning
        If the algorithm cannot be solved in parallel: it then runs sequentially.
    SequentialFallbackWarning
        If the sequential loop had to finish the chain.

    Examples
    --------
    >>> import blackjax, jax, jax.numpy as jnp
    >>> algorithm = blackjax.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.3, jnp.ones(2), 5)
    >>> state, (states, infos) = run_inference_algorithm(
    ...     jax.random.key(0), algorithm, 100, initial_position=jnp.zeros(2), solver="parallel"
    ... )
    >>> states.position.shape, infos.is_accepted.shape
    ((100, 2), (100,))
    """
    if isinstance(transform, bool):
        # The order of older versions, by position.
        moved = _state_and_info if isinstance(progress_bar, bool) else progress_bar
        transform, progress_bar = moved, transform
    with full_precision():
        run = run_algorithm(
            rng_key,
            inference_algorithm,
            num_steps,
            initial_state,
            initial_position,
            transform,
            progress_bar,
            solver=solver,
            window=window,
        )
    if not any_traced(run.fallback_steps):
        warn_fallback(int(run.fallback_steps), int(num_steps), int(run.iterations))
    return run.final_state, run.history


def run_algorithm(
    rng_key: jax.Array,
    inference_algorithm: Any,
    num_steps: int,
    initial_state: PyTree | None = None,
    initial_position: PyTree | None = None,
    transform: Callable[[PyTree, PyTree], PyTree] = _state_and_info,
    progress_bar: bool = False,
    *,
    solver: str | Newton | Shooting = "auto",
    window: int | None = None,
) -> Run:
    """Do what :func:`run_inference_algorithm` does, and tell how the steps were found."""
    _check_algorithm(inference_algorithm)
    require_callable("transform", transform)
    if isinstance(num_steps, bool) or not isinstance(num_steps, int | np.integer) or num_steps < 0:
        raise ValueError(f"num_steps must be a number of steps, 0 or more, got {num_steps!r}")
    if (initial_state is None) == (initial_position is None):
        raise ValueError("exactly one of initial_state and initial_position must be given")
    key = rng_key if any_traced(rng_key) else require_key("rng_key", rng_key)
    require_flag("progress_bar", progress_bar)
    if initial_state is None:
        require_arrays("initial_position", initial_position)
        key, init_key = jax.random.split(key, 2)
        initial_state = inference_algorithm.init(initial_position, init_key)
    else:
        require_arrays("initial_state", initial_state)
        _check_state(inference_algorithm.step, key, initial_state)
    keys = jax.random.split(key, int(num_steps))
    if num_steps:
        initial_state = settled(inference_algorithm.step, initial_state, keys[0])
    try:
        plan = choose_plan(inference_algorithm, solver, window, initial_state, keys)
        return _run_segments(plan, transform, initial_state, keys, progress_bar)
    except NotSolvable as error:
        warnings.warn(
            f"the algorithm cannot be solved in parallel and runs sequentially: {error}",
            NotParallelWarning,
            stacklevel=3,
        )
    plan = SequentialPlan(as_partial(inference_algorithm.step))
    return _run_segments(plan, transform, initial_state, keys, progress_bar)


def _check_state(step: Callable, key: jax.Array, state: PyTree) -> None:
    """Raise if the step does not accept ``state``; the named tuples of BlackJAX are not tried."""
    if hasattr(state, "_fields"):
        return
    try:
        jax.eval_shape(step, key, state)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "initial_state must be a state of the algorithm, as its init returns it, got "
            f"{type(state).__name__}; a position goes into initial_position: {error}"
        ) from error


def _check_algorithm(algorithm: Any) -> None:
    for name in ("init", "step"):
        if not callable(getattr(algorithm, name, None)):
            raise TypeError(
                "inference_algorithm must be a BlackJAX algorithm such as blackjax.hmc(...), with "
                f"functions init and step, got {type(algorithm).__name__}: {algorithm!r}"
            )


@partial(jax.jit, static_argnums=1)
def _run(plan: Any, transform: Callable, state: PyTree, keys: jax.Array) -> Run:
    return plan.run(transform, state, keys)


def _run_segments(
    plan: Any, transform: Callable, state: PyTree, keys: jax.Array, progress_bar: bool
) -> Run:
    """Make all steps in one compiled call, or in a few to move a progress bar between them."""
    total = keys.shape[0]
    if not progress_bar or any_traced(state, keys) or total == 0:
        return _run(plan, transform, state, keys)
    segments = max(1, min(SEGMENTS, total // max(plan.window, 50)))
    # Two lengths at most, so that no more programs are compiled.
    stops = np.linspace(0, total, segments + 1).astype(int)
    runs = []
    with tqdm(total=total, unit="step", desc="sample") as bar:
        for start, stop in zip(stops[:-1], stops[1:], strict=True):
            runs.append(_run(plan, transform, state, keys[start:stop]))
            state = jax.block_until_ready(runs[-1].final_state)
            bar.update(int(stop - start))
    return Run(
        state,
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *[run.history for run in runs]),
        jnp.stack([run.iterations for run in runs]).sum(),
        jnp.stack([run.fallback_steps for run in runs]).sum(),
    )
