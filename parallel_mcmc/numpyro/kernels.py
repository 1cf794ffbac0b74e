"""HMC, MALA and random-walk Metropolis as NumPyro kernels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer import init_to_uniform

from parallel_mcmc import kernels
from parallel_mcmc._errors import require_positive, require_positive_int
from parallel_mcmc.kernels.base import DensityState
from parallel_mcmc.kernels.gradient_kernel import GradientKernel
from parallel_mcmc.numpyro.sampler import Sampler
from parallel_mcmc.numpyro.state import AdaptState, potential_energy_of
from parallel_mcmc.numpyro.trajectory import TrajectoryHMC
from parallel_mcmc.warmup import LowRank

QUARTER_TURN = math.pi / 2
"""Length of a trajectory if neither it nor a number of steps is given.

On a standard normal, which the metric makes of many posteriors, it forgets where it began.
"""
MOST_STEPS = 16
"""Leapfrog steps that such a trajectory has at most, for as long as the metric is not known."""


class HMC(Sampler):
    """Hamiltonian Monte Carlo with an endpoint Metropolis test, for NumPyro models.

    The arguments are those of ``numpyro.infer.HMC``, in its order. Three defaults differ: the mass
    matrix is dense, the search for a step size is on, and a trajectory has the length π/2, a
    quarter of a turn on a standard normal (in NumPyro 2π, which leads back to the start).

    Parameters
    ----------
    model
        A NumPyro model with continuous latent sites; discrete ones that can be enumerated are
        summed out, for which NumPyro needs funsor.
    potential_fn
        A potential energy in place of a model; needs ``init_params`` when it is run.
    kinetic_fn
        Must be None: the kinetic energy is that of a normal momentum.
    step_size
        Leapfrog step size, where the warmup starts; in units of the metric.
    inverse_mass_matrix
        Where the warmup starts: an array, ``(D,)`` or ``(D, D)`` in the order of the flattened
        sites (by name), or a dictionary from tuples of names of sites to the parts of such an
        array; or a :class:`~parallel_mcmc.kernels.LowRankMetric`; by default the identity.
    adapt_step_size, adapt_mass_matrix
        Whether the warmup tunes them.
    dense_mass
        Whether the mass matrix is dense; or a list of tuples of names of sites, each a dense block
        of the mass matrix, which is diagonal elsewhere; or a
        :class:`~parallel_mcmc.warmup.LowRank`, for models of many parameters. Coordinates in which
        the posterior is close to a standard normal are what makes the parallel solution fast.
    target_accept_prob
        Acceptance probability to which the step size is tuned.
    num_steps
        Leapfrog steps of a transition.
    trajectory_length
        Step size times leapfrog steps. Without ``num_steps``, their number is
        ``max(1, ceil(trajectory_length / step_size))`` and the step size shrinks to fit; with
        both, the step size is ``trajectory_length / num_steps`` and is not tuned. With neither,
        the length is π/2, or shorter where the step size is so small that 16 steps do not reach it.
    init_strategy
        NumPyro's strategy for initial positions.
    find_heuristic_step_size
        Whether every window of the warmup begins with a search for a step size.
    forward_mode_differentiation
        Whether to differentiate in forward mode, for models with loops that need it.
    regularize_mass_matrix
        Whether the warmup shrinks its estimate of the mass matrix.

    Raises
    ------
    TypeError
        If ``model``, ``potential_fn`` or ``init_strategy`` is not callable.
    ValueError
        If not exactly one of ``model`` and ``potential_fn`` is given, or an argument has a wrong
        value; the message names it. What names sites is checked when the model is run.

    Warns
    -----
    UserWarning
        If the step size cannot be tuned because both ``num_steps`` and ``trajectory_length`` are
        given.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from parallel_mcmc.numpyro import HMC, MCMC
    >>> kernel = HMC(potential_fn=lambda x: 0.5 * jnp.sum(x**2), num_steps=3)
    >>> mcmc = MCMC(kernel, num_warmup=100, num_samples=200, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), init_params=jnp.ones(2))
    >>> mcmc.get_samples().shape
    (200, 2)
    """

    def __init__(
        self,
        model: Callable | None = None,
        potential_fn: Callable | None = None,
        kinetic_fn: Callable | None = None,
        step_size: float = 1.0,
        inverse_mass_matrix: Any = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool | list[tuple[str, ...]] | LowRank = True,
        target_accept_prob: float = 0.8,
        num_steps: int | None = None,
        trajectory_length: float | None = None,
        init_strategy: Callable = init_to_uniform,
        find_heuristic_step_size: bool = True,
        forward_mode_differentiation: bool = False,
        regularize_mass_matrix: bool = True,
    ) -> None:
        if kinetic_fn is not None:
            raise ValueError(
                "kinetic_fn must be None, the kinetic energy of a normal momentum: others are "
                "left to numpyro.infer.HMC"
            )
        if num_steps is not None:
            num_steps = require_positive_int("num_steps", num_steps)
        if trajectory_length is not None:
            require_positive("trajectory_length", trajectory_length)
            if num_steps is not None:
                if adapt_step_size:
                    warnings.warn(
                        "step_size is trajectory_length / num_steps and is not adapted, since "
                        "both are given",
                        UserWarning,
                        stacklevel=2,
                    )
                adapt_step_size, step_size = False, trajectory_length / num_steps
        super().__init__(
            model,
            potential_fn,
            step_size=step_size,
            inverse_mass_matrix=inverse_mass_matrix,
            adapt_step_size=adapt_step_size,
            adapt_mass_matrix=adapt_mass_matrix,
            dense_mass=dense_mass,
            target_accept_prob=target_accept_prob,
            init_strategy=init_strategy,
            find_heuristic_step_size=find_heuristic_step_size,
            forward_mode_differentiation=forward_mode_differentiation,
            regularize_mass_matrix=regularize_mass_matrix,
        )
        self._num_steps = num_steps
        self._trajectory_length = trajectory_length

    def build(self, logdensity: Callable, tuned: AdaptState) -> GradientKernel:
        """Return the HMC kernel of a log density."""
        if self._num_steps is not None:
            return kernels.HMC(logdensity, tuned.step_size, tuned.metric, self._num_steps)
        length = jnp.asarray(self._length, tuned.step_size.dtype)
        most_steps = MOST_STEPS if self._trajectory_length is None else None
        return TrajectoryHMC(logdensity, tuned.step_size, tuned.metric, length, most_steps)

    @property
    def _length(self) -> Any:
        """Length of a trajectory whose number of steps is not given; it may be traced."""
        return QUARTER_TURN if self._trajectory_length is None else self._trajectory_length

    def limit_step_size(self, step_size: jax.Array) -> jax.Array:
        """Return a step size of at most the length of a trajectory."""
        if self._num_steps is not None:
            return step_size
        return jnp.minimum(step_size, self._length)


class MALA(Sampler):
    """Metropolis-adjusted Langevin algorithm, for NumPyro models.

    Parameters
    ----------
    model
        A NumPyro model with continuous latent sites, as for :class:`HMC`.
    potential_fn
        A potential energy in place of a model; needs ``init_params`` when it is run.
    step_size
        Time step of the diffusion, where the warmup starts; in units of the metric.
    inverse_mass_matrix, adapt_step_size, adapt_mass_matrix, dense_mass, target_accept_prob
        As for :class:`HMC`.
    init_strategy, find_heuristic_step_size, forward_mode_differentiation, regularize_mass_matrix
        As for :class:`HMC`.

    Raises
    ------
    TypeError
        If ``model``, ``potential_fn`` or ``init_strategy`` is not callable.
    ValueError
        If not exactly one of ``model`` and ``potential_fn`` is given, or an argument has a wrong
        value; the message names it. What names sites is checked when the model is run.

    Examples
    --------
    >>> import jax, numpyro
    >>> import numpyro.distributions as dist
    >>> from parallel_mcmc.numpyro import MALA, MCMC
    >>> def model(y=None):
    ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> mcmc = MCMC(MALA(model), num_warmup=100, num_samples=200, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), y=2.0)
    >>> mcmc.get_samples()["mu"].shape
    (200,)
    """

    def build(self, logdensity: Callable, tuned: AdaptState) -> kernels.MALA:
        """Return the MALA kernel of a log density."""
        return kernels.MALA(logdensity, tuned.step_size, tuned.metric)


class RandomWalk(Sampler):
    """Random-walk Metropolis, for NumPyro models.

    A transition evaluates the log density and not its gradient, so that its states have no
    ``z_grad``; their ``energy`` is the potential energy. A ``potential_fn`` is not differentiated;
    of a model NumPyro's search for an initial position takes the gradient.

    Parameters
    ----------
    model
        A NumPyro model with continuous latent sites, as for :class:`HMC`.
    potential_fn
        A potential energy in place of a model; needs ``init_params`` when it is run.
    step_size
        Standard deviation of the proposal, where the warmup starts; in units of the metric.
    inverse_mass_matrix, adapt_step_size, adapt_mass_matrix, dense_mass
        As for :class:`HMC`; the inverse mass matrix is the covariance of a proposal of step size 1.
    target_accept_prob
        Acceptance probability to which the step size is tuned; by default 0.234, the best for many
        independent coordinates.
    init_strategy, find_heuristic_step_size, forward_mode_differentiation, regularize_mass_matrix
        As for :class:`HMC`; the search for a step size is off by default.

    Raises
    ------
    TypeError
        If ``model``, ``potential_fn`` or ``init_strategy`` is not callable.
    ValueError
        If not exactly one of ``model`` and ``potential_fn`` is given, or an argument has a wrong
        value; the message names it. What names sites is checked when the model is run.

    References
    ----------
    Roberts, Gelman and Gilks, Annals of Applied Probability 7(1), 1997 (the acceptance rate).

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from parallel_mcmc.numpyro import MCMC, RandomWalk
    >>> kernel = RandomWalk(potential_fn=lambda x: jnp.sum(jnp.abs(x)))
    >>> mcmc = MCMC(kernel, num_warmup=100, num_samples=200, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), init_params=jnp.ones(2))
    >>> mcmc.get_samples().shape
    (200, 2)
    """

    state_type = DensityState
    energy_of = staticmethod(potential_energy_of)

    def __init__(
        self,
        model: Callable | None = None,
        potential_fn: Callable | None = None,
        *,
        step_size: float = 1.0,
        inverse_mass_matrix: Any = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool | list[tuple[str, ...]] | LowRank = True,
        target_accept_prob: float = 0.234,
        init_strategy: Callable = init_to_uniform,
        find_heuristic_step_size: bool = False,
        forward_mode_differentiation: bool = False,
        regularize_mass_matrix: bool = True,
    ) -> None:
        super().__init__(
            model,
            potential_fn,
            step_size=step_size,
            inverse_mass_matrix=inverse_mass_matrix,
            adapt_step_size=adapt_step_size,
            adapt_mass_matrix=adapt_mass_matrix,
            dense_mass=dense_mass,
            target_accept_prob=target_accept_prob,
            init_strategy=init_strategy,
            find_heuristic_step_size=find_heuristic_step_size,
            forward_mode_differentiation=forward_mode_differentiation,
            regularize_mass_matrix=regularize_mass_matrix,
        )

    def build(self, logdensity: Callable, tuned: AdaptState) -> kernels.RMH:
        """Return the random-walk kernel of a log density."""
        return kernels.RMH(logdensity, tuned.step_size, tuned.metric)
