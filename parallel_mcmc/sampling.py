"""The driver: draws of one or more chains."""

from __future__ import annotations

import dataclasses
import os
import time
from functools import partial
from typing import Any, Self

import jax
import numpy as np
from jax.sharding import Mesh

from parallel_mcmc._errors import (
    require_flag,
    require_key,
    require_positive_int,
)
from parallel_mcmc._tree import PyTree, part
from parallel_mcmc.choice.auto import choose
from parallel_mcmc.choice.outcome import Choice
from parallel_mcmc.choice.runner import choose_runner
from parallel_mcmc.kernels.base import Kernel, require_kernel
from parallel_mcmc.kernels.chain import ChainStats, Runner, Sequential
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.placement.base import ON_ONE_DEVICE, Placement
from parallel_mcmc.placement.over_mesh import OverMesh, require_chain_mesh
from parallel_mcmc.recording import InMemory, all_draws, joined
from parallel_mcmc.segments import (
    SHORTEST_QUIET_SEGMENT,
    SHORTEST_SEGMENT,
    Group,
    run_segments,
    segment_length,
    total_stats,
)
from parallel_mcmc.solver import Newton, Shooting

INIT_KEY = np.uint32(2**32 - 1)
"""Number of the key of a chain's first state, beyond any draw's."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """Draws of one or more chains."""

    position: PyTree
    """Positions; leaves have shape ``(num_chains, num_samples, ...)``."""
    info: PyTree
    """Information about every transition, leaves ``(num_chains, num_samples, ...)``."""
    stats: ChainStats
    """How the chains were solved; fields of shape ``(num_chains,)``."""
    final_state: PyTree
    """Last state of every chain, leaves ``(num_chains, ...)``: where to continue."""
    logdensity: Any
    """Log density of every draw, shape ``(num_chains, num_samples)``; None where the kernel does
    not know it."""
    step_size: np.ndarray | None = None
    """Of the kernel, shape ``(num_chains,)``; None if it has no such number."""
    sampling_time: float | None = None
    """Seconds that the draws took, compilation included."""

    def chosen(self, choice: Choice | None) -> Self:
        """Return the samples with a note of how they were drawn, and why so."""
        return dataclasses.replace(self, stats=self.stats._replace(choice=choice))

    def to_arviz(self, **kwargs: Any) -> Any:
        """Return the samples for ArviZ; see :func:`parallel_mcmc.arviz.to_arviz`."""
        from parallel_mcmc.arviz import to_arviz

        return to_arviz(self, **kwargs)


def sample(
    key: jax.Array,
    kernel: Kernel,
    initial_position: PyTree,
    num_samples: int,
    *,
    num_chains: int = 1,
    solver: str | Newton | Shooting = "auto",
    window: int | None = None,
    progress_bar: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    mesh: Mesh | None = None,
) -> Samples:
    """Draw chains of a kernel.

    The chain is that of the sequential sampler: draw t of a chain uses key t of
    ``jax.random.split(chain_key, num_samples)``, where ``chain_key`` is ``key`` itself for one
    chain and one of ``jax.random.split(key, num_chains)`` for more. What is random in the first
    state of a chain, such as a momentum, is drawn with
    ``jax.random.fold_in(chain_key, 2**32 - 1)``, which is no draw's key.

    Parameters
    ----------
    key
        A key of ``jax.random.key`` or ``jax.random.PRNGKey``.
    kernel
        A transition kernel, such as ``pmc.hmc(...)``.
    initial_position
        Where the chains start. With ``num_chains > 1`` every leaf has a leading axis of that
        length, one position a chain.
    num_samples
        Draws of every chain.
    num_chains
        Number of chains.
    solver
        ``"parallel"`` (by the Newton method that suits the kernel), ``"sequential"``, a
        :class:`Newton` method, :class:`Shooting`, or ``"auto"``: the fastest by a short trial. On
        an accelerator two models of the Jacobian are tried, unless the run has less than 1,280
        draws a chain. On a CPU shooting is compared with the loop, unless a step moves less than
        16 MB, the run less than 1 GB, and it has less than 4,000 draws a chain: then the loop is
        taken. The draws are the same up to the tolerance of :func:`solve`, 1e-9 standard
        deviations in double precision and 1e-4 in single; ``samples.stats.choice`` says what was
        chosen, and why. Pin the solver where even that must not depend on a clock.
    window
        Steps solved for together; by default 32 on a CPU, 4,096 on an accelerator, where
        ``"auto"`` takes fewer if they would need more than half of its memory or do not pay. By
        shooting: those that are cut into lanes, by default 256 for each lane.
    progress_bar
        Whether to show one.
    checkpoint
        Folder, not there yet, that the draws are written to as they are made, so that
        :func:`resume` can go on after any interruption. Where a CPU solves chains in parallel,
        each chain is written by itself, and a slow one does not hold up the others. The draws are
        then not kept in memory: the samples read them from the folder when they are first asked
        for. Needs Zarr (``pip install "parallel_mcmc[store]"``).
    checkpoint_every
        Draws between two checkpoints, at least the window; by default 5 % of all, or fewer where
        that would be more than 10,000 draws or 64 MiB.
    mesh
        Devices to draw on, by default the first one alone. Chains are spread over the axis
        ``"chain"`` of the mesh, and the steps of a window over its axis ``"time"``; it needs one of
        them. Data that are bound to the log density by :class:`jax.tree_util.Partial`, and spread
        over an axis ``"data"``, stay so. Every process of several must make the same call.

    Returns
    -------
    Samples
        Positions, information and solver statistics; the same in every process.

    Raises
    ------
    TypeError
        If ``key`` is no key, ``kernel`` no kernel, ``initial_position`` holds what is no array,
        ``progress_bar`` is neither True nor False, or ``mesh`` is no mesh.
    ValueError
        If an argument has a wrong shape or value, the log density is not finite at
        ``initial_position``, or ``mesh`` has other axes; the message names the argument.
    OSError
        If a checkpoint cannot be written; what was written before can be resumed.

    Warns
    -----
    SequentialFallbackWarning
        If the plain loop had to finish a chain.
    DivergenceWarning
        If transitions diverged; the message says how many.
    NonFiniteWarning
        If draws are not finite, as an update of a Gibbs kernel may make them.
    InterruptedWarning
        If interrupted from the keyboard; the draws that every chain has are returned.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    >>> samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(2), 100, progress_bar=False)
    >>> samples.position.shape
    (1, 100, 2)
    """
    key = require_key("key", key)
    require_kernel("kernel", kernel)
    require_flag("progress_bar", progress_bar)
    num_samples = require_positive_int("num_samples", num_samples)
    num_chains = require_positive_int("num_chains", num_chains)
    if checkpoint is None and checkpoint_every is not None:
        raise ValueError(
            "checkpoint_every must be left out without a checkpoint, got " + repr(checkpoint_every)
        )
    placement: Placement = ON_ONE_DEVICE
    if mesh is not None:
        placement = OverMesh(require_chain_mesh("mesh", mesh), num_chains)
    # What is wrong is said before the log density is evaluated.
    placement.adapt(choose_runner(solver, window, num_samples, placement.blocks))
    init_keys, keys = chain_keys(key, num_chains, num_samples)
    states = initial_states(kernel, initial_position, num_chains, init_keys)
    runner, choice = choose(solver, window, kernel, states, keys, placement.blocks)
    runner = placement.adapt(runner)
    if not isinstance(runner, Sequential):
        choice = choice._replace(window=runner.window)
    if checkpoint is None:
        samples = run_chains(
            runner, kernel, states, keys, placement=placement, progress_bar=progress_bar
        )
        return samples.chosen(choice)
    from parallel_mcmc.store.run import begin

    return begin(
        checkpoint,
        runner,
        kernel,
        states,
        key,
        keys,
        choice,
        placement=placement,
        every=checkpoint_every,
        progress_bar=progress_bar,
    )


@partial(jax.jit, static_argnames=("num_chains", "num_samples"))
def chain_keys(key: jax.Array, num_chains: int, num_samples: int) -> tuple[jax.Array, jax.Array]:
    """Return the keys of the first states, ``(num_chains,)``, and of all draws, one more axis."""
    keys = key[None] if num_chains == 1 else jax.random.split(key, num_chains)
    init_keys = jax.vmap(lambda k: jax.random.fold_in(k, INIT_KEY))(keys)
    return init_keys, jax.vmap(lambda k: jax.random.split(k, num_samples))(keys)


def run_chains(
    runner: Runner,
    kernel: Kernel,
    states: PyTree,
    keys: jax.Array,
    *,
    placement: Placement = ON_ONE_DEVICE,
    progress_bar: bool = True,
    progress_rate: int | None = None,
) -> Samples:
    """Draw the chains that follow ``states``, with a given key for every draw.

    Parameters
    ----------
    runner
        How to run them, from :func:`choose_runner`.
    kernel
        A transition kernel.
    states
        States of the kernel, leaves ``(num_chains, ...)``.
    keys
        Of every draw, shape ``(num_chains, num_samples)``.
    placement
        Where they are drawn.
    progress_bar
        Whether to show one.
    progress_rate
        Draws between two moves of the bar, at least the window; by default 5 % of all.

    Returns
    -------
    Samples
        As :func:`sample`, which tells of the warnings as well.
    """
    num_chains, num_samples = keys.shape[:2]
    begin = time.perf_counter()
    chains = placement.groups(runner, num_chains)
    recorders = [InMemory() for _ in chains]
    least = SHORTEST_SEGMENT if progress_bar else SHORTEST_QUIET_SEGMENT
    length = placement.segment(runner, segment_length(runner, num_samples, progress_rate, least))
    run_segments(
        runner,
        kernel,
        [Group(some, part(states, some), one) for some, one in zip(chains, recorders, strict=True)],
        keys,
        length,
        placement=placement,
        progress_bar=progress_bar,
    )
    segments = min(one.segments for one in recorders)
    draws = all_draws(recorders, segments)
    return Samples(
        draws.position,
        draws.info,
        total_stats([one.stats(segments) for one in recorders], num_samples),
        joined([one.state(segments) for one in recorders]),
        draws.logdensity,
        chain_step_sizes(kernel, num_chains),
        time.perf_counter() - begin,
    )


def chain_step_sizes(kernel: Kernel, num_chains: int) -> np.ndarray | None:
    """Return the kernel's step size once for every chain; None if it has no such number."""
    step_size = getattr(kernel, "step_size", None)
    if step_size is None or np.shape(step_size):
        return None
    return np.full(num_chains, step_size)
