"""The loop of window adaptation: step sizes, and one metric from the draws of all chains."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree, at, repeated
from parallel_mcmc.kernels.base import BoundKernel
from parallel_mcmc.kernels.chain import Chain, ChainStats, Runner
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.warmup import step_size as dual_averaging
from parallel_mcmc.warmup.carried import Adaptation, Block, History, Rules, WarmupDraws
from parallel_mcmc.warmup.running import joined, run_part, sizes
from parallel_mcmc.warmup.schedule import Parts

TRIALS = 5
"""Transitions of every chain that a step size is judged by in the search for one. A single one that
is rejected would send it astray, by halving after halving where the target is high."""


@partial(jax.jit, static_argnames=("num_steps", "adapt_step_size", "keep_draws"))
def begin(
    runner: Runner,
    kernel: Any,
    states: PyTree,
    rules: Rules,
    *,
    num_steps: int,
    adapt_step_size: bool,
    keep_draws: bool,
) -> Adaptation:
    """Return what the loop carries before the first step."""
    num_chains = len(states.logdensity)
    example = at(states.position, 0)
    # Checks that the kernel's own metric fits.
    kernel.bind(example)
    vector = ravel_pytree(example)[0]
    dim, dtype = vector.size, vector.dtype
    step_size = jnp.full(num_chains, jnp.asarray(kernel.step_size, dtype))
    metric = (
        kernel.metric if rules.metric is None else rules.metric.first(kernel.metric, dim, dtype)
    )
    bound = _bind(kernel, step_size[0], metric, example)
    flat = jax.vmap(bound.enter)(states)
    keys = repeated(repeated(jax.random.key(0), 1), num_chains)
    made = jax.eval_shape(partial(run_part, runner), kernel, example, step_size, metric, flat, keys)
    room = (num_chains, num_steps + sizes(runner)[-1])
    draws = None
    if keep_draws:
        draws = jax.tree.map(
            lambda leaf: jnp.zeros((*room, *leaf.shape[2:]), leaf.dtype),
            jax.eval_shape(partial(_recorded, bound), made),
        )
    stats = ChainStats(*(jnp.zeros(leaf.shape, leaf.dtype) for leaf in made.stats[:-1]))
    return Adaptation(
        states=flat,
        step_size=step_size,
        metric=metric,
        averaging=jax.vmap(dual_averaging.init)(step_size) if adapt_step_size else None,
        block=Block(jnp.zeros(num_chains, dtype), jnp.zeros((), int)),
        gathered=None if rules.metric is None else rules.metric.nothing(states, dim, dtype),
        history=History(jnp.zeros(room[1], dtype), jnp.zeros(room, dtype), draws),
        stats=stats._replace(converged=jnp.ones_like(stats.converged)),
    )


@partial(jax.jit, static_argnames=("find_step_size",))
def advance(
    runner: Runner,
    kernel: Any,
    example: PyTree,
    adaptation: Adaptation,
    keys: jax.Array,
    parts: Parts,
    rules: Rules,
    first: int,
    stop: int,
    *,
    find_step_size: bool = True,
) -> Adaptation:
    """Make the parts from ``first`` to before ``stop``, all chains side by side.

    The bounds are traced, so that a whole warmup and some parts of one are the same program.

    Parameters
    ----------
    runner
        How the steps of a part are made.
    kernel
        The kernel as given; its step size and metric are those of ``adaptation``.
    example
        A position of one chain.
    adaptation
        Carried from part to part.
    keys
        One for each step.
    parts
        The parts of the warmup, of the sizes that ``runner`` has.
    rules
        How to adapt.
    first, stop
        The parts to make.
    find_step_size
        As in :func:`window_adaptation`.
    """
    num_chains = len(adaptation.step_size)
    parts = jax.tree.map(jnp.asarray, parts)

    def make(part: Parts, size: int, now: Adaptation) -> Adaptation:
        # What is made beyond the part is dropped.
        index = jnp.minimum(part.first + jnp.arange(size), len(keys) - 1)
        split = partial(jax.random.split, num=num_chains)
        chain_keys = jax.vmap(split, out_axes=1)(keys[index])
        return _make(runner, kernel, example, now, chain_keys, part, rules)

    def step(i: jax.Array, now: Adaptation) -> Adaptation:
        part = at(parts, i)
        # Before the last window a chain far out may need other steps than those that have arrived.
        # In it all have the same: one that heeds a single chain is not independent of where that
        # chain is, and the covariance of its draws is biased.
        pooled = part.windows_left <= 1

        def begin_stage(now: Adaptation) -> Adaptation:
            now = _renew_metric(kernel, example, now, rules, part.windows_left == 0)
            chain_keys = jax.random.split(keys[part.first], num_chains)
            return _restart(kernel, example, now, chain_keys, pooled, rules, find_step_size)

        now = jax.lax.cond(part.is_stage_start, begin_stage, lambda now: now, now)
        makers = [partial(make, part, size) for size in sizes(runner)]
        now = jax.lax.switch(part.size, makers, now) if len(makers) > 1 else makers[0](now)
        return jax.lax.cond(
            part.is_block_end,
            lambda now: _renew_step_size(now, pooled, rules),
            lambda now: now,
            now,
        )

    return jax.lax.fori_loop(first, stop, step, adaptation)


@jax.jit
def finish(kernel: Any, example: PyTree, adaptation: Adaptation) -> tuple[jax.Array, PyTree]:
    """Return the tuned step size, and the chains' states."""
    averaging = adaptation.averaging
    step_size = adaptation.step_size if averaging is None else dual_averaging.final(averaging)
    bound = _bind(kernel, step_size[0], adaptation.metric, example)
    return step_size[0], jax.vmap(bound.leave)(adaptation.states)


def _renew_metric(
    kernel: Any, example: PyTree, now: Adaptation, rules: Rules, is_last: jax.Array
) -> Adaptation:
    """Make a metric of what was gathered, and change to its coordinates."""
    if rules.metric is None:
        return now
    # The step size is of no account here.
    public = jax.vmap(_bind(kernel, kernel.step_size, now.metric, example).leave)(now.states)
    metric = rules.metric.renewed(now.metric, now.gathered, is_last)
    bound = _bind(kernel, kernel.step_size, metric, example)
    return now._replace(
        states=jax.vmap(bound.enter)(public),
        metric=metric,
        gathered=jax.tree.map(jnp.zeros_like, now.gathered),
    )


def _restart(
    kernel: Any,
    example: PyTree,
    now: Adaptation,
    keys: jax.Array,
    pooled: jax.Array,
    rules: Rules,
    find_step_size: bool,
) -> Adaptation:
    """Look for step sizes that are about right, and begin their adaptation anew."""
    if now.averaging is None:
        return now
    log_step_size = jnp.log(dual_averaging.final(now.averaging))
    step_size = jnp.exp(jnp.where(pooled, log_step_size.mean(), log_step_size))
    if find_step_size:
        draw = kernel.bind(example).draw
        draws = jax.vmap(lambda key: jax.vmap(draw)(jax.random.split(key, TRIALS)))(keys)

        def rate(step_size: jax.Array, state: PyTree, draw: PyTree) -> jax.Array:
            bound = _bind(kernel, step_size, now.metric, example)
            info: Any = bound.recurrence.step(state, draw)[1]
            return info.acceptance_rate

        # All at once: a chain whose search is over waits for the others.
        def rates(step_size: jax.Array) -> jax.Array:
            tried = jax.vmap(jax.vmap(rate, in_axes=(None, None, 0)))(step_size, now.states, draws)
            return _pooled(_number(tried).mean(axis=1), pooled)

        step_size = dual_averaging.find_reasonable_step_size(
            rates, step_size, rules.target, rules.largest_step_size
        )
    return now._replace(step_size=step_size, averaging=jax.vmap(dual_averaging.init)(step_size))


def _make(
    runner: Runner,
    kernel: Any,
    example: PyTree,
    now: Adaptation,
    keys: jax.Array,
    part: Parts,
    rules: Rules,
) -> Adaptation:
    """Make the steps of a part, and learn from them."""
    bound = _bind(kernel, kernel.step_size, now.metric, example)
    chain = run_part(runner, kernel, example, now.step_size, now.metric, now.states, keys)
    counts = jnp.arange(keys.shape[1]) < part.count
    info: Any = chain.info
    rates = _number(info.acceptance_rate)

    def put(all_steps: jax.Array, these: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(all_steps, these, part.first, axis=1)

    old = now.history
    draws = None if old.draws is None else jax.tree.map(put, old.draws, _recorded(bound, chain))
    now = now._replace(
        states=jax.tree.map(lambda leaf: leaf[:, part.count - 1], chain.states),
        block=Block(
            now.block.total + jnp.sum(jnp.where(counts, rates, 0), axis=1),
            now.block.count + part.count,
        ),
        history=History(
            put(old.acceptance_rate[None], rates.mean(0)[None])[0],
            put(old.step_size, jnp.broadcast_to(now.step_size[:, None], rates.shape)),
            draws,
        ),
        stats=joined(now.stats, chain.stats),
    )
    estimator = rules.metric
    if estimator is None:
        return now

    def gather(gathered: PyTree) -> PyTree:
        public = jax.vmap(jax.vmap(bound.leave))(chain.states)
        everyone = jnp.broadcast_to(counts, rates.shape)
        return estimator.gathered(gathered, public, everyone, part.window_steps)

    return now._replace(
        gathered=jax.lax.cond(part.is_slow, gather, lambda gathered: gathered, now.gathered)
    )


def _renew_step_size(now: Adaptation, pooled: jax.Array, rules: Rules) -> Adaptation:
    """Make the block's acceptance rates one update, and begin the next block."""
    if now.averaging is None:
        return now
    rates = _pooled(now.block.total / now.block.count.astype(now.block.total.dtype), pooled)
    update = jax.vmap(dual_averaging.update, in_axes=(0, 0, None, None))
    averaging = update(now.averaging, rates, rules.target, rules.largest_step_size)
    return now._replace(
        step_size=jnp.exp(averaging.log_step_size),
        averaging=averaging,
        block=jax.tree.map(jnp.zeros_like, now.block),
    )


def _recorded(bound: BoundKernel, chain: Chain) -> WarmupDraws:
    public: Any = jax.vmap(jax.vmap(bound.leave))(chain.states)
    return WarmupDraws(public.position, public.logdensity, chain.info)


def _bind(kernel: Any, step_size: jax.Array, metric: Metric, example: PyTree) -> BoundKernel:
    return dataclasses.replace(kernel, step_size=step_size, metric=metric).bind(example)


def _number(rate: jax.Array) -> jax.Array:
    """Return an acceptance rate, 0 where it is NaN."""
    return jnp.where(jnp.isnan(rate), 0, rate)


def _pooled(rates: jax.Array, pooled: jax.Array) -> jax.Array:
    """Return the acceptance rate of every chain, or for each of them the mean of all."""
    return jnp.where(pooled, rates.mean(), rates)
