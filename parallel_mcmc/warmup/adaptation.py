"""Window adaptation, as users call it: checks, progress, and what comes out."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from tqdm.auto import tqdm

from parallel_mcmc._errors import (
    is_number,
    require_flag,
    require_key,
    require_object,
    require_positive_int,
)
from parallel_mcmc._tree import PyTree, any_traced, at
from parallel_mcmc.choice.runner import choose_runner
from parallel_mcmc.kernels.chain import ChainStats
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.solver import Newton, Shooting
from parallel_mcmc.warmup.carried import Rules, WarmupDraws
from parallel_mcmc.warmup.check import warn_of_acceptance
from parallel_mcmc.warmup.initial import Start
from parallel_mcmc.warmup.loop import advance, begin, finish
from parallel_mcmc.warmup.low_rank import LowRank
from parallel_mcmc.warmup.moments import Covariance
from parallel_mcmc.warmup.running import sizes
from parallel_mcmc.warmup.schedule import LEAST_FULL, build_schedule, cut

START_KEY = np.uint32(2**32 - 1)
"""Number of the key of the first positions, beyond any step's."""
SEGMENTS = 20
"""How often the progress bar moves."""


@dataclasses.dataclass(frozen=True)
class WarmupResult:
    """A tuned kernel, where its chains stand, and how it was found."""

    kernel: Any
    """The kernel with the tuned step size and metric."""
    state: PyTree
    """Last state of every chain, leaves ``(num_chains, ...)``."""
    step_size: jax.Array
    """The tuned step size, scalar."""
    acceptance_rate: jax.Array
    """Mean acceptance rate of the chains at every step, shape ``(num_steps,)``."""
    step_sizes: jax.Array
    """Step size of every step, shape ``(num_chains, num_steps)``."""
    stats: ChainStats
    """How the chains were solved; fields of shape ``(num_chains,)``."""
    draws: WarmupDraws | None = None
    """The draws of the warmup, if they were to be kept."""

    @property
    def inverse_mass_matrix(self) -> jax.Array:
        """The tuned inverse mass matrix, ``(D,)`` if diagonal, else ``(D, D)``.

        A metric of low rank, which has no such matrix in memory, is ``kernel.metric``.
        """
        return self.kernel.metric.inverse_mass_matrix()

    @property
    def position(self) -> PyTree:
        """Where to continue, as :func:`parallel_mcmc.sample` takes its ``initial_position``."""
        positions = self.state.position
        if jax.tree.leaves(positions)[0].shape[0] == 1:
            return at(positions, 0)
        return positions


def window_adaptation(
    key: jax.Array,
    kernel: Any,
    initial_position: PyTree,
    num_steps: int,
    *,
    num_chains: int = 1,
    target_acceptance_rate: float = 0.8,
    dense: bool | LowRank = True,
    structure: ArrayLike | None = None,
    adapt_step_size: bool = True,
    adapt_mass_matrix: bool = True,
    find_step_size: bool = True,
    regularise: bool = True,
    keep_draws: bool = False,
    progress_bar: bool = False,
    start: Start | None = None,
    solver: str | Newton | Shooting = "auto",
    window: int | None = None,
) -> WarmupResult:
    """Tune the step size and the metric of a kernel, by Stan's schedule.

    One tuned kernel comes out. The chains share one metric: the covariance of all their positions,
    and before the last window, since the chains may still be on their way, the metric of least
    Fisher divergence, which takes their gradients into account. Step sizes are found by dual
    averaging of the acceptance rates of blocks of steps: before the last window every chain has one
    of its own, and then all have the same, by their mean acceptance rate. Both start from those of
    ``kernel``.

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
        Whether the metric is a full covariance matrix, or the variances alone; or a
        :class:`LowRank` for variances and a few directions, where D is large.
    structure
        Which entries of a dense metric may differ from 0: a boolean matrix ``(D, D)``, true in
        blocks on the diagonal and in the order of the flattened position; by default all.
    adapt_step_size, adapt_mass_matrix
        Whether to adapt the step size and the metric, or to keep those of ``kernel``.
    find_step_size
        Whether every stage begins with a search for a step size that is about right.
    regularise
        Whether to shrink the estimated covariance, by as much as Stan does.
    keep_draws
        Whether to return the draws of the warmup as well.
    progress_bar
        Whether to show one.
    start
        An approximation of the posterior that gives the first positions, searched for from
        ``initial_position``, and the first metric: :class:`Laplace` or :class:`Pathfinder`. By
        default the chains start where they are, with the metric of ``kernel``.
    solver
        ``"parallel"``, ``"sequential"``, a :class:`~parallel_mcmc.Newton` method, or ``"auto"``:
        parallel on an accelerator, the plain loop on a CPU. The step size and the metric are the
        same up to rounding: they change only between blocks of steps, and each block is solved.
    window
        Steps solved for together, of the at most 50 of a block; by default 32 on a CPU, all on an
        accelerator.

    Returns
    -------
    WarmupResult
        The tuned kernel, the last states, and the history of the adaptation.

    Raises
    ------
    TypeError
        If ``key`` is no key, ``kernel`` has no step size, metric or acceptance rate, or a flag is
        neither True nor False.
    ValueError
        If an argument has a wrong shape or value, or the log density is not finite at
        ``initial_position``; the message names the argument.

    Warns
    -----
    AcceptanceWarning
        If the acceptance rate at the end is more than 0.1 from the target, beyond three standard
        errors; for warmups of at least 150 steps.

    References
    ----------
    Stan Reference Manual, HMC algorithm parameters; Hoffman and Gelman, JMLR 15, 2014; Seyboldt,
    Carlson and Carpenter, arXiv 2603.18845 (the Fisher divergence).

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
    for name, flag in {
        "adapt_step_size": adapt_step_size,
        "adapt_mass_matrix": adapt_mass_matrix,
        "find_step_size": find_step_size,
        "regularise": regularise,
        "keep_draws": keep_draws,
        "progress_bar": progress_bar,
    }.items():
        require_flag(name, flag)
    if not isinstance(dense, bool | np.bool_ | LowRank):
        raise TypeError(
            f"dense must be True or False, or a LowRank, got {type(dense).__name__}: {dense!r}"
        )
    if start is not None:
        accepted = "None, or such as Laplace() or Pathfinder()"
        require_object("start", start, ("approximate",), accepted)
    states = initial_states(kernel, initial_position, num_chains)
    example = at(states.position, 0)
    runner = choose_runner(solver, window, num_steps)
    if start is not None:
        start_key = jax.random.fold_in(key, START_KEY)
        positions, first_metric = start.approximate(
            start_key, kernel.logdensity_fn, states.position
        )
        kernel = dataclasses.replace(kernel, metric=first_metric)
        first = at(positions, 0) if num_chains == 1 else positions
        states = initial_states(kernel, first, num_chains)

    schedule = build_schedule(num_steps)
    estimator = None
    if adapt_mass_matrix:
        structure = _checked_structure(structure, dense, example)
        is_low_rank = isinstance(dense, LowRank)
        estimator = dense if is_low_rank else Covariance(bool(dense), regularise, structure)
    else:
        quiet = np.zeros(num_steps, bool)
        schedule = schedule._replace(is_slow=quiet, is_window_end=quiet)
    largest = getattr(kernel, "largest_step_size", np.inf)
    rules = Rules(estimator, target_acceptance_rate, largest)
    parts = cut(schedule, sizes(runner))
    keys = jax.random.split(key, num_steps)
    adaptation = begin(
        runner,
        kernel,
        states,
        rules,
        num_steps=num_steps,
        adapt_step_size=adapt_step_size,
        keep_draws=keep_draws,
    )
    # The loop is then the same program whatever the kind of the given metric.
    kernel = dataclasses.replace(
        kernel, step_size=adaptation.step_size[0], metric=adaptation.metric
    )
    # Without a bar there is nothing to stop for.
    total = len(parts.count)
    stops = np.linspace(0, total, min(SEGMENTS, total) + 1 if progress_bar else 2, dtype=int)
    with tqdm(total=num_steps, disable=not progress_bar, unit="step", desc="warmup") as progress:
        for first, stop in zip(stops[:-1], stops[1:], strict=True):
            adaptation = advance(
                runner,
                kernel,
                example,
                adaptation,
                keys,
                parts,
                rules,
                first,
                stop,
                find_step_size=find_step_size,
            )
            jax.block_until_ready(adaptation)
            progress.update(int(parts.count[first:stop].sum()))
    step_size, states = finish(kernel, example, adaptation)
    history = adaptation.history
    acceptance_rate = history.acceptance_rate[:num_steps]
    if adapt_step_size and num_steps >= LEAST_FULL and not any_traced(adaptation, rules):
        warn_of_acceptance(
            np.asarray(acceptance_rate), target_acceptance_rate, float(step_size), float(largest)
        )
    return WarmupResult(
        kernel=dataclasses.replace(kernel, step_size=step_size, metric=adaptation.metric),
        state=states,
        step_size=step_size,
        acceptance_rate=acceptance_rate,
        step_sizes=history.step_size[:, :num_steps],
        stats=adaptation.stats,
        draws=jax.tree.map(lambda leaf: leaf[:, :num_steps], history.draws),
    )


def _checked_structure(structure: Any, dense: Any, example: PyTree) -> jax.Array | None:
    if structure is None:
        return None
    structure = np.asarray(structure)
    dim = ravel_pytree(example)[0].size
    fits = structure.dtype == bool and structure.shape == (dim, dim)
    if isinstance(dense, LowRank) or not dense or not fits:
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
    if not getattr(kernel, "is_adjusted", True):
        raise TypeError(
            "kernel must accept or reject, since the warmup steers by the acceptance rate, got "
            f"{cls.__name__}"
        )


def _require_probability(name: str, value: Any) -> None:
    if any_traced(value):
        return
    if not is_number(value) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
