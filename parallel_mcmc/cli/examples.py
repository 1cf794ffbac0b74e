"""The posteriors that the commands know by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from numpyro.infer.util import initialize_model

import parallel_mcmc as pmc
from parallel_mcmc._tree import PyTree
from parallel_mcmc.data import load_eight_schools, load_german_credit
from parallel_mcmc.models import eight_schools, german_credit


@dataclasses.dataclass(frozen=True)
class Example:
    """A NumPyro model with its data and with settings that suit it."""

    title: str
    model: Callable
    data: tuple
    observed: Mapping[str, Any]
    shown: tuple[str, ...]
    """Variables worth a row in a table."""
    coords: Mapping[str, tuple[str, ...]]
    dims: Mapping[str, tuple[str, ...]]
    num_integration_steps: int
    """Leapfrog steps of HMC."""
    target_acceptance_rate: Mapping[str, float]
    """By kernel. Higher than the mixing alone would ask for: a rejected proposal that the solver
    took for accepted costs it iterations."""
    method: str

    def posterior(self, key: jax.Array, num_chains: int) -> Posterior:
        """Return the posterior, with a starting point for every chain."""
        keys = key if num_chains == 1 else jax.random.split(key, num_chains)
        start, potential_fn, constrain, _ = initialize_model(keys, self.model, model_args=self.data)
        return Posterior(lambda z: -potential_fn(z), start.z, constrain)

    def kernel(self, name: str, logdensity_fn: Callable[[PyTree], jax.Array]) -> Any:
        """Return the kernel ``hmc`` or ``mala``, for a warmup to tune."""
        if name == "mala":
            return pmc.mala(logdensity_fn, 0.1)
        return pmc.hmc(logdensity_fn, 0.1, None, self.num_integration_steps)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """What sampling needs of a model."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    initial_position: PyTree
    constrain: Callable[[PyTree], PyTree]
    """From an unconstrained position to the values of all sites."""


def example(name: str) -> Example:
    """Return the example called ``german-credit`` or ``eight-schools``.

    Examples
    --------
    >>> example("eight-schools").title
    'Eight schools: hierarchical model, non-centred'
    """
    return {"german-credit": _german_credit, "eight-schools": _eight_schools}[name]()


def _german_credit() -> Example:
    X, y, names = load_german_credit()
    return Example(
        title=f"German credit: logistic regression, {len(y):,} applicants",
        model=german_credit,
        data=(X, y),
        observed={"y": y},
        shown=("alpha", "beta"),
        coords={"attribute": names},
        dims={"beta": ("attribute",), "odds_ratio": ("attribute",)},
        num_integration_steps=4,
        target_acceptance_rate={"hmc": 0.95, "mala": 0.8},
        method="diagonal",
    )


def _eight_schools() -> Example:
    y, sigma = load_eight_schools()
    return Example(
        title="Eight schools: hierarchical model, non-centred",
        model=eight_schools,
        data=(sigma, y),
        observed={"y": y},
        shown=("mu", "tau", "theta"),
        coords={"school": tuple("ABCDEFGH")},
        dims={"theta": ("school",), "theta_base": ("school",)},
        num_integration_steps=6,
        target_acceptance_rate={"hmc": 0.95, "mala": 0.9},
        method="dense",
    )
