"""``window_adaptation``: BlackJAX's warmup, compiled once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from blackjax import window_adaptation as blackjax_window_adaptation
from blackjax.adaptation.base import AdaptationResults
from blackjax.base import AdaptationAlgorithm

from parallel_mcmc._errors import (
    require_arrays,
    require_callable,
    require_key,
    require_positive_int,
)
from parallel_mcmc._tree import PyTree, any_traced


def window_adaptation(
    algorithm: Any, logdensity_fn: Callable[[PyTree], jax.Array], *arguments: Any, **options: Any
) -> AdaptationAlgorithm:
    """Return Stan's warmup of a BlackJAX algorithm, as ``blackjax.window_adaptation`` does.

    The state, step size and inverse mass matrix are BlackJAX's for the same key, for it is
    BlackJAX's own adaptation that runs: step by step, since each step takes the step size that
    the one before it led to. Nothing in it is parallel; what is gained is that it is compiled once
    for each adaptation object, number of steps and shapes, not at each run. The draws that
    follow, by :func:`run_inference_algorithm`, are where the parallel solver works.

    Parameters
    ----------
    algorithm
        A BlackJAX algorithm with a step size and an inverse mass matrix, such as
        ``blackjax.nuts`` or ``blackjax.hmc``.
    logdensity_fn
        Log density of a position, up to a constant: a scalar. Make a new adaptation if data that
        it closes over change.
    arguments, options
        As the installed ``blackjax.window_adaptation`` takes them, such as
        ``is_mass_matrix_diagonal``, ``initial_step_size`` and ``target_acceptance_rate``, and the
        algorithm's own parameters, such as ``num_integration_steps``.

    Returns
    -------
    blackjax.base.AdaptationAlgorithm
        Its ``run(rng_key, position, num_steps=1000)`` returns ``(state, parameters), info``: the
        last state, the arguments that the algorithm is to be called with, and the history of the
        adaptation.

    Raises
    ------
    TypeError
        If ``algorithm`` is no BlackJAX algorithm or ``logdensity_fn`` is not callable; in ``run``,
        if ``rng_key`` is no key or ``position`` holds what is no array.
    ValueError
        In ``run``, if ``num_steps`` is not a positive integer.

    References
    ----------
    Stan Reference Manual, HMC algorithm parameters.

    Examples
    --------
    >>> import blackjax, jax, jax.numpy as jnp
    >>> scales = jnp.array([0.1, 10.0])
    >>> def logdensity(x):
    ...     return -0.5 * jnp.sum((x / scales) ** 2)
    >>> warmup = window_adaptation(blackjax.hmc, logdensity, num_integration_steps=10)
    >>> (state, parameters), info = warmup.run(jax.random.key(0), jnp.ones(2), 200)
    >>> sorted(parameters)
    ['inverse_mass_matrix', 'num_integration_steps', 'step_size']
    """
    for name in ("init", "build_kernel"):
        if not callable(getattr(algorithm, name, None)):
            raise TypeError(
                "algorithm must be a BlackJAX algorithm such as blackjax.nuts, with functions "
                f"init and build_kernel, got {type(algorithm).__name__}: {algorithm!r}"
            )
    require_callable("logdensity_fn", logdensity_fn)
    adaptation = blackjax_window_adaptation(algorithm, logdensity_fn, *arguments, **options)
    # Its type speaks of the first two arguments only.
    their_run: Callable[..., Any] = adaptation.run
    named = inspect.signature(blackjax_window_adaptation).parameters
    # Parameters of the algorithm come back as they were given: not all of them are arrays.
    given = {name: value for name, value in options.items() if name not in named}

    @partial(jax.jit, static_argnums=2)
    def compiled(rng_key: jax.Array, position: PyTree, num_steps: int) -> Any:
        (state, parameters), info = their_run(rng_key, position, num_steps)
        adapted = {name: value for name, value in parameters.items() if name not in given}
        return (state, adapted), info

    # The bar of older versions counts on being compiled at each run.
    run_once = their_run if options.get("progress_bar") else compiled

    def run(rng_key: jax.Array, position: PyTree, num_steps: int = 1000) -> Any:
        key = rng_key if any_traced(rng_key) else require_key("rng_key", rng_key)
        num_steps = require_positive_int("num_steps", num_steps)
        require_arrays("position", position)
        (state, adapted), info = run_once(key, position, num_steps)
        return AdaptationResults(state, adapted | given), info

    return AdaptationAlgorithm(run)
