"""The loop of window adaptation: step sizes, and one metric from the draws of all chains."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.kernels.base import BoundKernel
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.warmup import step_size as dual_averaging
from parallel_mcmc.warmup.moments import (
    Moments,
    converted,
    gathered,
    no_moments,
    renewed_metric,
)
from parallel_mcmc.warmup.schedule import Schedule


class WarmupDraws(NamedTuple):
    """What the chains drew while the kernel was tuned."""

    position: PyTree
    """Leaves ``(num_chains, num_steps, ...)``."""
    logdensity: jax.Array
    """Shape ``(num_chains, num_steps)``."""
    info: PyTree
    """Information about every transition, leaves ``(num_chains, num_steps)``."""


class Adaptation(NamedTuple):
    """What the loop over the warmup's steps carries."""

    states: PyTree
    """States of the recurrence, in the coordinates of ``metric``; leading axis num_chains."""
    step_size: jax.Array
    """Of every chain, shape ``(num_chains,)``; from the last window on all are the same."""
    metric: Metric
    averaging: dual_averaging.DualAveraging | None
    """Of every chain; None if the step size is not adapted."""
    moments: Moments | None
    """None if the metric is not adapted."""
    acceptance_rate: jax.Array
    """Of every step so far, shape ``(num_steps,)``."""
    step_sizes: jax.Array
    """Of every step so far, shape ``(num_steps, num_chains)``."""
    structure: jax.Array | None
    """Which entries of a dense metric are adapted, boolean ``(D, D)``; None for all."""
    draws: WarmupDraws | None
    """Of every step so far, leaves ``(num_steps, num_chains, ...)``; None if not kept."""


@partial(jax.jit, static_argnames=("dense", "adapt_step_size", "adapt_mass_matrix", "keep_draws"))
def start(
    kernel: Any,
    states: PyTree,
    keys: jax.Array,
    structure: jax.Array | None,
    *,
    dense: bool,
    adapt_step_size: bool,
    adapt_mass_matrix: bool,
    keep_draws: bool,
) -> Adaptation:
    """Return what the loop carries before the first step."""
    num_steps, num_chains = len(keys), len(states.logdensity)
    example = at(states.position, 0)
    # Checks that the kernel's own metric fits.
    kernel.bind(example)
    vector = ravel_pytree(example)[0]
    dim, dtype = vector.size, vector.dtype
    step_size = jnp.asarray(kernel.step_size, dtype)
    first_metric = (
        converted(kernel.metric, dim, dense, dtype) if adapt_mass_matrix else kernel.metric
    )
    bound = _bind(kernel, step_size, first_metric, example)
    draws = None
    if keep_draws:

        def one_step(states: PyTree, keys: jax.Array) -> WarmupDraws:
            flat = jax.vmap(bound.enter)(states)
            flat, info = jax.vmap(bound.recurrence.step)(flat, jax.vmap(bound.draw)(keys))
            return _recorded(bound, flat, info)

        chain_keys = jax.random.split(keys[0], num_chains)
        draws = jax.tree.map(
            lambda leaf: jnp.zeros((num_steps, *leaf.shape), leaf.dtype),
            jax.eval_shape(one_step, states, chain_keys),
        )
    step_size = jnp.full(num_chains, step_size)
    return Adaptation(
        states=jax.vmap(bound.enter)(states),
        step_size=step_size,
        metric=first_metric,
        averaging=jax.vmap(dual_averaging.init)(step_size) if adapt_step_size else None,
        moments=no_moments(states, dim, dense, dtype) if adapt_mass_matrix else None,
        acceptance_rate=jnp.zeros(num_steps, dtype),
        step_sizes=jnp.zeros((num_steps, num_chains), dtype),
        structure=structure,
        draws=draws,
    )


@partial(jax.jit, static_argnames=("find_step_size", "regularise"))
def advance(
    kernel: Any,
    example: PyTree,
    adaptation: Adaptation,
    keys: jax.Array,
    schedule: Schedule,
    target: float,
    first: int,
    stop: int,
    *,
    find_step_size: bool = True,
    regularise: bool = True,
) -> Adaptation:
    """Make the steps from ``first`` to before ``stop``, all chains side by side.

    The bounds are traced, so that a whole warmup and a part of one are the same program.

    Parameters
    ----------
    kernel
        The kernel as given; its step size and metric are those of ``adaptation``.
    example
        A position of one chain.
    adaptation
        Carried from step to step.
    keys
        One for each step.
    schedule
        What the steps do.
    target
        The wanted acceptance rate.
    first, stop
        The steps to make.
    find_step_size, regularise
        As in :func:`window_adaptation`.
    """
    # A stage begins with the metric and the step size that the last one leads to.
    begins = jnp.roll(schedule.is_window_end, 1).at[0].set(True)
    windows_left = jnp.cumsum(schedule.is_window_end[::-1])[::-1]
    # Before the last window a chain far out may need other steps than those that have arrived. In
    # it all have the same: one that heeds a single chain is not independent of where that chain is,
    # and the covariance of its draws is biased.
    pooled = windows_left <= 1

    def step(t: jax.Array, now: Adaptation) -> Adaptation:
        chain_keys = jax.random.split(keys[t], len(jax.tree.leaves(now.states)[0]))
        draws = jax.vmap(kernel.bind(example).draw)(chain_keys)
        now = jax.lax.cond(
            begins[t],
            lambda now: _begin_stage(
                kernel,
                example,
                now,
                draws,
                target,
                pooled[t],
                windows_left[t] == 0,
                find_step_size,
                regularise,
            ),
            lambda now: now,
            now,
        )
        return _transition(kernel, example, now, t, draws, schedule.is_slow[t], pooled[t], target)

    return jax.lax.fori_loop(first, stop, step, adaptation)


@jax.jit
def finish(kernel: Any, example: PyTree, adaptation: Adaptation) -> tuple[jax.Array, PyTree]:
    """Return the tuned step size, and the chains' states."""
    averaging = adaptation.averaging
    step_size = adaptation.step_size if averaging is None else dual_averaging.final(averaging)
    bound = _bind(kernel, step_size[0], adaptation.metric, example)
    return step_size[0], jax.vmap(bound.leave)(adaptation.states)


def _begin_stage(
    kernel: Any,
    example: PyTree,
    now: Adaptation,
    draws: PyTree,
    target: float,
    pooled: jax.Array,
    is_last: jax.Array,
    find_step_size: bool,
    regularise: bool,
) -> Adaptation:
    """Renew the metric by what was gathered, and look for step sizes that go with it."""
    if now.moments is not None:
        # The step size is of no account here.
        public = jax.vmap(_bind(kernel, kernel.step_size, now.metric, example).leave)(now.states)
        renewed = renewed_metric(now.metric, now.moments, now.structure, is_last, regularise)
        bound = _bind(kernel, kernel.step_size, renewed, example)
        now = now._replace(
            states=jax.vmap(bound.enter)(public),
            metric=renewed,
            moments=jax.tree.map(jnp.zeros_like, now.moments),
        )
    if now.averaging is not None:
        log_step_size = jnp.log(dual_averaging.final(now.averaging))
        step_size = jnp.exp(jnp.where(pooled, log_step_size.mean(), log_step_size))
        if find_step_size:
            # All at once: a chain whose search is over waits for the others.
            def acceptance_rate(step_size: jax.Array) -> jax.Array:
                info = _step(kernel, step_size, now.metric, example, now.states, draws)[1]
                return _rates(info, pooled)

            step_size = dual_averaging.find_reasonable_step_size(acceptance_rate, step_size, target)
        now = now._replace(step_size=step_size, averaging=jax.vmap(dual_averaging.init)(step_size))
    return now


def _transition(
    kernel: Any,
    example: PyTree,
    now: Adaptation,
    t: jax.Array,
    draws: PyTree,
    is_slow: jax.Array,
    pooled: jax.Array,
    target: float,
) -> Adaptation:
    """Make transition ``t`` of every chain, and learn from it."""
    bound = _bind(kernel, kernel.step_size, now.metric, example)
    states, info = _step(kernel, now.step_size, now.metric, example, now.states, draws)
    rates = _rates(info, pooled)
    now = now._replace(
        states=states,
        acceptance_rate=now.acceptance_rate.at[t].set(rates.mean()),
        step_sizes=now.step_sizes.at[t].set(now.step_size),
    )
    if now.draws is not None:
        recorded = _recorded(bound, states, info)
        now = now._replace(
            draws=jax.tree.map(lambda all, one: all.at[t].set(one), now.draws, recorded)
        )
    if now.averaging is not None:
        update = jax.vmap(dual_averaging.update, in_axes=(0, 0, None))
        averaging = update(now.averaging, rates, target)
        now = now._replace(averaging=averaging, step_size=jnp.exp(averaging.log_step_size))
    if now.moments is not None:

        def gather(moments: Moments) -> Moments:
            return gathered(moments, jax.vmap(bound.leave)(states))

        moments = jax.lax.cond(is_slow, gather, lambda moments: moments, now.moments)
        now = now._replace(moments=moments)
    return now


def _recorded(bound: BoundKernel, states: PyTree, info: PyTree) -> WarmupDraws:
    public = jax.vmap(bound.leave)(states)
    return WarmupDraws(public.position, public.logdensity, info)


def _bind(kernel: Any, step_size: jax.Array, metric: Metric, example: PyTree) -> BoundKernel:
    return dataclasses.replace(kernel, step_size=step_size, metric=metric).bind(example)


def _step(
    kernel: Any,
    step_size: jax.Array,
    metric: Metric,
    example: PyTree,
    states: PyTree,
    draws: PyTree,
) -> tuple[PyTree, Any]:
    """Make one transition of every chain with its own step size."""

    def one(step_size: jax.Array, state: PyTree, draw: PyTree) -> tuple[PyTree, Any]:
        return _bind(kernel, step_size, metric, example).recurrence.step(state, draw)

    return jax.vmap(one)(step_size, states, draws)


def _rates(info: Any, pooled: jax.Array) -> jax.Array:
    """Return the acceptance rate of every chain, or for each of them the mean of all."""
    rate = jnp.where(jnp.isnan(info.acceptance_rate), 0, info.acceptance_rate)
    return jnp.where(pooled, rate.mean(), rate)
