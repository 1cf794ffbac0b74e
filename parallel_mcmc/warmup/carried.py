"""What a warmup carries from part to part."""

from __future__ import annotations

from typing import NamedTuple

import jax

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.chain import ChainStats
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.warmup.moments import Estimator
from parallel_mcmc.warmup.step_size import DualAveraging


class WarmupDraws(NamedTuple):
    """What the chains drew while the kernel was tuned."""

    position: PyTree
    """Leaves ``(num_chains, num_steps, ...)``."""
    logdensity: jax.Array
    """Shape ``(num_chains, num_steps)``."""
    info: PyTree
    """Information about every transition, leaves ``(num_chains, num_steps)``."""


class Block(NamedTuple):
    """Acceptance rates since the step size was last renewed."""

    total: jax.Array
    """Sum over the steps, of every chain, shape ``(num_chains,)``."""
    count: jax.Array
    """Number of steps, scalar."""


class History(NamedTuple):
    """Of every step so far; there is room for those of a last part that do not count."""

    acceptance_rate: jax.Array
    """Mean over the chains, shape ``(num_steps + room,)``."""
    step_size: jax.Array
    """Shape ``(num_chains, num_steps + room)``."""
    draws: WarmupDraws | None
    """Leaves ``(num_chains, num_steps + room, ...)``; None if they are not kept."""


class Adaptation(NamedTuple):
    """What the loop over the parts of a warmup carries."""

    states: PyTree
    """States of the recurrence, in the coordinates of ``metric``; leading axis num_chains."""
    step_size: jax.Array
    """Of every chain, shape ``(num_chains,)``; from the last window on all are the same."""
    metric: Metric
    averaging: DualAveraging | None
    """Of every chain; None if the step size is not adapted."""
    block: Block
    gathered: PyTree
    """What the next metric is made of; None if the metric is not adapted."""
    history: History
    stats: ChainStats
    """Of all steps so far, fields ``(num_chains,)``."""


class Rules(NamedTuple):
    """How a warmup adapts."""

    metric: Estimator | None
    """What the metric is made of; None if it is not adapted."""
    target: jax.Array | float
    """The wanted acceptance rate."""
    largest_step_size: jax.Array | float
    """The kernel's."""
