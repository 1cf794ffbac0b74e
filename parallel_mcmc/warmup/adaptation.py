"""Window adaptation: one step size and one metric from the draws of all chains."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from tqdm.auto import tqdm

from parallel_mcmc._errors import require_key, require_positive_int
from parallel_mcmc._tree import PyTree, any_traced
from parallel_mcmc.kernels.base import BoundKernel
from parallel_mcmc.kernels.metric import Metric, metric
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.warmup import step_size as dual_averaging
from parallel_mcmc.warmup import welford
from parallel_mcmc.warmup.schedule import Schedule, build_schedule

SEGMENTS = 20
"""How often the progress bar moves."""


class WarmupDraws(NamedTuple):
    """What the chains drew while the kernel was tuned."""

    position: PyTree
    """Leaves ``(num_chains, num_steps, ...)``."""
    logdensity: jax.Array
    """Shape ``(num_chains, num_steps)``."""
    info: PyTree
    """Information about every transition, leaves ``(num_chains, num_steps)``."""


@dataclasses.dataclass(frozen=True)
class WarmupResult:
    """A tuned kernel, where its chains stand, and how it was found."""

    kernel: Any
    """The kernel with the tuned step size and metric."""
    state: PyTree
    """Last state of every chain, leaves ``(num_chains, ...)``."""
    step_size: jax.Array
    """The tuned step size, scalar."""
    inverse_mass_matrix: jax.Array
    """The tuned inverse mass matrix, ``(D, D)`` if dense, else ``(D,)``."""
    acceptance_rate: jax.Array
    """Mean acceptance rate of the chains at every step, shape ``(num_steps,)``."""
    step_sizes: jax.Array
    """Step size of every step, shape ``(num_steps,)``."""
    draws: WarmupDraws | None = None
    """The draws of the warmup, if they were to be kept."""

    @property
    def position(self) -> PyTree:
        """Where to continue, as :func:`parallel_mcmc.sample` takes its ``initial_position``."""
        positions = self.state.position
        if jax.tree.leaves(positions)[0].shape[0] == 1:
            return jax.tree.map(lambda leaf: leaf[0], positions)
        return positions


class Adaptation(NamedTuple):
    """What the loop over the warmup's steps carries."""

    states: PyTree
    """States of the recurrence, in the coordinates of ``metric``; leading axis num_chains."""
    step_size: jax.Array
    metric: Metric
    averaging: dual_averaging.DualAveraging | None
    """None if the step size is not adapted."""
    moments: welford.Welford | None
    """None if the metric is not adapted."""
    acceptance_rate: jax.Array
    """Of every step so far, shape ``(num_steps,)``."""
    step_sizes: jax.Array
    """Of every step so far, shape ``(num_steps,)``."""
    structure: jax.Array | None
    """Which entries of a dense metric are adapted, boolean ``(D, D)``; None for all."""
    draws: WarmupDraws | None
    """Of every step so far, leaves ``(num_steps, num_chains, ...)``; None if not kept."""


def window_adaptation(
    key: jax.Array,
    kernel: Any,
    initial_position: PyTree,
    num_steps: int,
    *,
    num_chains: int = 1,
    target_acceptance_rate: float = 0.8,
    dense: bool = True,
    structure: ArrayLike | None = None,
    adapt_step_size: bool = True,
    adapt_mass_matrix: bool = True,
    find_step_size: bool = True,
    regularise: bool = True,
    keep_draws: bool = False,
    progress_bar: bool = False,
) -> WarmupResult:
    """Tune the step size and the metric of a kernel, by Stan's schedule.

    All chains share one step size, found by dual averaging on their mean acceptance rate, and one
    metric, the covariance of all their positions, so that one tuned kernel comes out. Both start
    from those of ``kernel``.

    Parameters
    ----------
    key
        A key of ``jax.random.key`` or ``jax.random.PRNGKey``.
    kernel
        A kernel with a step size and a metric, such as ``pmc.mala(...)`` or ``pmc.hmc(...)``.
    initial_position
        Where the chains start. With ``num_chains > 1`` every leaf has a leading axis of that
        length, one position a chain.
    num_steps
        Transitions of every chain. Below 20 the metric is not adapted.
    num_chains
        Number of chains.
    target_acceptance_rate
        Between 0 and 1.
    dense
        Whether the metric is a full covariance matrix, or the variances alone.
    structure
        Which entries of a dense metric may differ from 0: a boolean matrix ``(D, D)``, true in
        blocks on the diagonal and in the order of the flattened position; by default all.
    adapt_step_size, adapt_mass_matrix
        Whether to adapt the step size and the metric, or to keep those of ``kernel``.
    find_step_size
        Whether every stage begins with a search for a step size that is about right.
    regularise
        Whether to shrink the estimated metric, as Stan does.
    keep_draws
        Whether to return the draws of the warmup as well.
    progress_bar
        Whether to show one.

    Returns
    -------
    WarmupResult
        The tuned kernel, the last states, and the history of the adaptation.

    Raises
    ------
    TypeError
        If ``key`` is no key, or ``kernel`` has no step size or no metric.
    ValueError
        If an argument has a wrong shape or value, or the log density is not finite at
        ``initial_position``; the message names the argument.

    References
    ----------
    Stan Reference Manual, HMC algorithm parameters; Hoffman and Gelman, JMLR 15, 2014.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> scales = jnp.array([0.1, 1.0, 10.0])
    >>> kernel = pmc.mala(lambda x: -0.5 * jnp.sum((x / scales) ** 2), 0.1)
    >>> start = jnp.zeros((4, 3))
    >>> warmup = window_adaptation(jax.random.key(0), kernel, start, 500, num_chains=4)
    >>> warmup.inverse_mass_matrix.shape
    (3, 3)
    >>> samples = pmc.sample(
    ...     jax.random.key(1), warmup.kernel, warmup.position, 100, num_chains=4, progress_bar=False
    ... )
    >>> samples.position.shape
    (4, 100, 3)
    """
    key = require_key("key", key)
    _require_tunable(kernel)
    num_steps = require_positive_int("num_steps", num_steps)
    num_chains = require_positive_int("num_chains", num_chains)
    _require_probability("target_acceptance_rate", target_acceptance_rate)
    states = initial_states(kernel, initial_position, num_chains)
    example = jax.tree.map(lambda leaf: leaf[0], states.position)

    schedule = build_schedule(num_steps)
    if not adapt_mass_matrix:
        schedule = jax.tree.map(np.zeros_like, schedule)
    keys = jax.random.split(key, num_steps)
    adaptation = start(
        kernel,
        states,
        keys,
        _checked_structure(structure, dense, example),
        dense=dense,
        adapt_step_size=adapt_step_size,
        adapt_mass_matrix=adapt_mass_matrix,
        keep_draws=keep_draws,
    )
    # The loop is then the same program whatever the kind of the given metric.
    kernel = dataclasses.replace(kernel, step_size=adaptation.step_size, metric=adaptation.metric)
    # Without a bar there is nothing to stop for.
    stops = np.linspace(
        0, num_steps, min(SEGMENTS, num_steps) + 1 if progress_bar else 2, dtype=int
    )
    with tqdm(total=num_steps, disable=not progress_bar, unit="step", desc="warmup") as progress:
        for first, stop in zip(stops[:-1], stops[1:], strict=True):
            adaptation = advance(
                kernel,
                example,
                adaptation,
                keys,
                schedule,
                target_acceptance_rate,
                first,
                stop,
                find_step_size=find_step_size,
                regularise=regularise,
            )
            jax.block_until_ready(adaptation)
            progress.update(int(stop - first))
    step_size, states = finish(kernel, example, adaptation)
    return WarmupResult(
        kernel=dataclasses.replace(kernel, step_size=step_size, metric=adaptation.metric),
        state=states,
        step_size=step_size,
        inverse_mass_matrix=adaptation.metric.inverse_mass_matrix(),
        acceptance_rate=adaptation.acceptance_rate,
        step_sizes=adaptation.step_sizes,
        draws=jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), adaptation.draws),
    )


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
    num_steps = len(keys)
    example = jax.tree.map(lambda leaf: leaf[0], states.position)
    # Checks that the kernel's own metric fits.
    kernel.bind(example)
    vector = ravel_pytree(example)[0]
    dim, dtype = vector.size, vector.dtype
    step_size = jnp.asarray(kernel.step_size, dtype)
    first_metric = (
        _converted(kernel.metric, dim, dense, dtype) if adapt_mass_matrix else kernel.metric
    )
    bound = _bind(kernel, step_size, first_metric, example)
    draws = None
    if keep_draws:

        def one_step(states: PyTree, keys: jax.Array) -> WarmupDraws:
            flat = jax.vmap(bound.enter)(states)
            flat, info = jax.vmap(bound.recurrence.step)(flat, jax.vmap(bound.draw)(keys))
            return _recorded(bound, flat, info)

        chain_keys = jax.random.split(keys[0], len(states.logdensity))
        draws = jax.tree.map(
            lambda leaf: jnp.zeros((num_steps, *leaf.shape), leaf.dtype),
            jax.eval_shape(one_step, states, chain_keys),
        )
    return Adaptation(
        states=jax.vmap(bound.enter)(states),
        step_size=step_size,
        metric=first_metric,
        averaging=dual_averaging.init(step_size) if adapt_step_size else None,
        moments=welford.init(dim, dense, dtype) if adapt_mass_matrix else None,
        acceptance_rate=jnp.zeros(num_steps, dtype),
        step_sizes=jnp.zeros(num_steps, dtype),
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

    def step(t: jax.Array, now: Adaptation) -> Adaptation:
        chain_keys = jax.random.split(keys[t], len(jax.tree.leaves(now.states)[0]))
        draws = jax.vmap(kernel.bind(example).draw)(chain_keys)
        now = jax.lax.cond(
            begins[t],
            lambda now: _begin_stage(
                kernel, example, now, draws, target, find_step_size, regularise
            ),
            lambda now: now,
            now,
        )
        return _transition(kernel, example, now, t, draws, schedule.is_slow[t], target)

    return jax.lax.fori_loop(first, stop, step, adaptation)


@jax.jit
def finish(kernel: Any, example: PyTree, adaptation: Adaptation) -> tuple[jax.Array, PyTree]:
    """Return the tuned step size, and the chains' states."""
    bound = _bind(kernel, adaptation.step_size, adaptation.metric, example)
    averaging = adaptation.averaging
    step_size = adaptation.step_size if averaging is None else dual_averaging.final(averaging)
    return step_size, jax.vmap(bound.leave)(adaptation.states)


def _begin_stage(
    kernel: Any,
    example: PyTree,
    now: Adaptation,
    draws: PyTree,
    target: float,
    find_step_size: bool,
    regularise: bool,
) -> Adaptation:
    """Renew the metric by the positions gathered, and look for a step size that goes with it."""
    if now.moments is not None:
        public = jax.vmap(_bind(kernel, now.step_size, now.metric, example).leave)(now.states)
        renewed = _renewed(now.metric, now.moments, now.structure, regularise)
        bound = _bind(kernel, now.step_size, renewed, example)
        now = now._replace(
            states=jax.vmap(bound.enter)(public),
            metric=renewed,
            moments=jax.tree.map(jnp.zeros_like, now.moments),
        )
    if now.averaging is not None:

        def acceptance_rate(step_size: jax.Array) -> jax.Array:
            bound = _bind(kernel, step_size, now.metric, example)
            return _mean_rate(jax.vmap(bound.recurrence.step)(now.states, draws)[1])

        step_size = dual_averaging.final(now.averaging)
        if find_step_size:
            step_size = dual_averaging.find_reasonable_step_size(acceptance_rate, step_size, target)
        now = now._replace(step_size=step_size, averaging=dual_averaging.init(step_size))
    return now


def _transition(
    kernel: Any,
    example: PyTree,
    now: Adaptation,
    t: jax.Array,
    draws: PyTree,
    is_slow: jax.Array,
    target: float,
) -> Adaptation:
    """Make transition ``t`` of every chain, and learn from it."""
    bound = _bind(kernel, now.step_size, now.metric, example)
    states, info = jax.vmap(bound.recurrence.step)(now.states, draws)
    rate = _mean_rate(info)
    now = now._replace(
        states=states,
        acceptance_rate=now.acceptance_rate.at[t].set(rate),
        step_sizes=now.step_sizes.at[t].set(now.step_size),
    )
    if now.draws is not None:
        recorded = _recorded(bound, states, info)
        now = now._replace(
            draws=jax.tree.map(lambda all, one: all.at[t].set(one), now.draws, recorded)
        )
    if now.averaging is not None:
        averaging = dual_averaging.update(now.averaging, rate, target)
        now = now._replace(averaging=averaging, step_size=jnp.exp(averaging.log_step_size))
    if now.moments is not None:

        def gather(moments: welford.Welford) -> welford.Welford:
            positions = jax.vmap(lambda state: ravel_pytree(bound.leave(state).position)[0])(states)
            return welford.update(moments, positions)

        moments = jax.lax.cond(is_slow, gather, lambda moments: moments, now.moments)
        now = now._replace(moments=moments)
    return now


def _recorded(bound: BoundKernel, states: PyTree, info: PyTree) -> WarmupDraws:
    public = jax.vmap(bound.leave)(states)
    return WarmupDraws(public.position, public.logdensity, info)


def _bind(kernel: Any, step_size: jax.Array, metric: Metric, example: PyTree) -> BoundKernel:
    return dataclasses.replace(kernel, step_size=step_size, metric=metric).bind(example)


def _mean_rate(info: Any) -> jax.Array:
    rate = info.acceptance_rate
    return jnp.where(jnp.isnan(rate), 0, rate).mean()


def _converted(given: Metric, dim: int, dense: bool, dtype: Any) -> Metric:
    """Return a metric of the kind that will be adapted, closest to ``given``."""
    matrix = jnp.asarray(given.inverse_mass_matrix(), dtype)
    if matrix.ndim == 2:
        return metric(matrix if dense else jnp.diagonal(matrix))
    diagonal = jnp.broadcast_to(matrix, (dim,))
    return metric(jnp.diag(diagonal) if dense else diagonal)


def _renewed(
    old: Metric, moments: welford.Welford, structure: jax.Array | None, regularise: bool
) -> Metric:
    """Return the metric of the gathered positions, or the old one if they give none."""
    estimate = welford.regularised(moments) if regularise else welford.covariance(moments)
    new = metric(estimate if structure is None else jnp.where(structure, estimate, 0))
    usable = moments.count > 1
    for leaf in jax.tree.leaves(new):
        usable = usable & jnp.isfinite(leaf).all()
    return jax.tree.map(lambda a, b: jnp.where(usable, a, b), new, old)


def _checked_structure(structure: Any, dense: bool, example: PyTree) -> jax.Array | None:
    if structure is None:
        return None
    structure = np.asarray(structure)
    dim = ravel_pytree(example)[0].size
    if not dense or structure.dtype != bool or structure.shape != (dim, dim):
        raise ValueError(
            f"structure must be a boolean matrix of shape {(dim, dim)}, for a dense metric, got "
            f"dtype {structure.dtype} and shape {structure.shape} with dense={dense}"
        )
    return jnp.asarray(structure)


def _require_tunable(kernel: Any) -> None:
    cls = type(kernel)
    fields = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    if not {"step_size", "metric"} <= fields:
        raise TypeError(
            "kernel must be a dataclass with the fields step_size and metric, such as those of "
            f"pmc.mala and pmc.hmc, got {cls.__name__}"
        )


def _require_probability(name: str, value: Any) -> None:
    if any_traced(value):
        return
    if isinstance(value, bool | str) or np.shape(value) != () or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
