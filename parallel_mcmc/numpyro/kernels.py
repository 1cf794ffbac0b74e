"""HMC and MALA as NumPyro kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numpyro.infer import init_to_uniform

from parallel_mcmc import kernels
from parallel_mcmc._errors import require_positive, require_positive_int
from parallel_mcmc.numpyro.sampler import Sampler
from parallel_mcmc.numpyro.state import AdaptState


class HMC(Sampler):
    """Hamiltonian Monte Carlo with a fixed number of leapfrog steps, for NumPyro models.

    Parameters
    ----------
    model
        A NumPyro model with continuous latent sites.
    potential_fn
        A potential energy in place of a model; needs ``init_params`` when it is run.
    step_size
        Leapfrog step size, where the warmup starts; in units of the metric.
    inverse_mass_matrix
        Where the warmup starts, ``(D,)`` or ``(D, D)`` in the order of the flattened sites (by
        name); by default the identity.
    adapt_step_size, adapt_mass_matrix
        Whether the warmup tunes them.
    dense_mass
        Whether the mass matrix is dense. True by default, other than in NumPyro: coordinates in
        which the posterior is close to a unit Gaussian are what makes the parallel solution fast.
    target_accept_prob
        Acceptance probability to which the step size is tuned.
    num_steps
        Leapfrog steps of a transition.
    trajectory_length
        If given, ``max(1, ceil(trajectory_length / step_size))`` leapfrog steps after the warmup,
        with the tuned step size; the warmup uses ``num_steps``.
    init_strategy
        NumPyro's strategy for initial positions.

    Raises
    ------
    TypeError
        If ``model``, ``potential_fn`` or ``init_strategy`` is not callable.
    ValueError
        If not exactly one of ``model`` and ``potential_fn`` is given, a number is not positive, or
        a mass matrix is structured by sites.

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
        *,
        step_size: float = 1.0,
        inverse_mass_matrix: Any = None,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        dense_mass: bool = True,
        target_accept_prob: float = 0.8,
        num_steps: int = 5,
        trajectory_length: float | None = None,
        init_strategy: Callable = init_to_uniform,
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
        )
        self._num_steps = require_positive_int("num_steps", num_steps)
        if trajectory_length is not None:
            require_positive("trajectory_length", trajectory_length)
        self._trajectory_length = trajectory_length

    def build(self, logdensity: Callable, tuned: AdaptState) -> kernels.HMC:
        """Return the HMC kernel of a log density."""
        return kernels.HMC(logdensity, tuned.step_size, tuned.metric, tuned.num_steps)

    def choose_num_steps(self, step_size: float | None) -> int:
        """Return ``num_steps``, or what ``trajectory_length`` makes of a tuned step size."""
        if self._trajectory_length is None or step_size is None:
            return self._num_steps
        return max(1, math.ceil(self._trajectory_length / step_size))


class MALA(Sampler):
    """Metropolis-adjusted Langevin algorithm, for NumPyro models.

    Parameters
    ----------
    model
        A NumPyro model with continuous latent sites.
    potential_fn
        A potential energy in place of a model; needs ``init_params`` when it is run.
    step_size
        Time step of the diffusion, where the warmup starts; in units of the metric.
    inverse_mass_matrix
        Where the warmup starts, ``(D,)`` or ``(D, D)`` in the order of the flattened sites (by
        name); by default the identity.
    adapt_step_size, adapt_mass_matrix
        Whether the warmup tunes them.
    dense_mass
        Whether the mass matrix is dense, true by default as in :class:`HMC`.
    target_accept_prob
        Acceptance probability to which the step size is tuned.
    init_strategy
        NumPyro's strategy for initial positions.

    Raises
    ------
    TypeError
        If ``model``, ``potential_fn`` or ``init_strategy`` is not callable.
    ValueError
        If not exactly one of ``model`` and ``potential_fn`` is given, a number is not positive, or
        a mass matrix is structured by sites.

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

    def choose_num_steps(self, step_size: float | None) -> int:
        """1."""
        return 1
