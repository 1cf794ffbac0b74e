"""What HMC and MALA have in common as NumPyro kernels."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import init_to_uniform
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from parallel_mcmc import kernels
from parallel_mcmc._errors import require_callable, require_like, require_positive
from parallel_mcmc._tree import PyTree, any_traced
from parallel_mcmc.kernels import GradientState
from parallel_mcmc.kernels.metric import metric
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.numpyro.model import (
    Arguments,
    Target,
    TracedModel,
    potential_target,
    trace_model,
)
from parallel_mcmc.numpyro.state import (
    AdaptState,
    SamplerState,
    energy_of,
    first_key,
    split_keys,
)
from parallel_mcmc.warmup import WarmupResult, window_adaptation


class Sampler(MCMCKernel):
    """Base of the kernels: what is the same for HMC and MALA."""

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
        init_strategy: Callable = init_to_uniform,
    ) -> None:
        if (model is None) == (potential_fn is None):
            raise ValueError("exactly one of model and potential_fn must be given")
        if model is not None:
            require_callable("model", model)
        else:
            require_callable("potential_fn", potential_fn)
        require_callable("init_strategy", init_strategy)
        if not isinstance(dense_mass, bool):
            raise ValueError(
                f"dense_mass must be True or False, got {dense_mass!r}: NumPyro's structured mass "
                "matrices are not supported"
            )
        if isinstance(inverse_mass_matrix, dict):
            raise ValueError(
                "inverse_mass_matrix must be an array of shape (D,) or (D, D), got a dict: "
                "NumPyro's structured mass matrices are not supported"
            )
        if not 0 < require_positive("target_accept_prob", target_accept_prob) < 1:
            raise ValueError(f"target_accept_prob must be less than 1, got {target_accept_prob}")
        self._model = model
        self._potential_fn = potential_fn
        self._step_size = float(require_positive("step_size", step_size))
        self._metric = metric(inverse_mass_matrix)
        self._init_strategy = init_strategy
        self._adaptation = {
            "adapt_step_size": bool(adapt_step_size),
            "adapt_mass_matrix": bool(adapt_mass_matrix),
            "dense": dense_mass,
            "target_acceptance_rate": float(target_accept_prob),
        }
        self._traced_models: dict[Hashable, TracedModel] = {}

    @property
    def model(self) -> Callable | None:
        """The NumPyro model, if there is one."""
        return self._model

    @property
    def sample_field(self) -> str:
        """``"z"``, as NumPyro's HMC."""
        return "z"

    @property
    def default_fields(self) -> tuple[str, ...]:
        """``("z", "diverging")``, as NumPyro's HMC."""
        return ("z", "diverging")

    def get_diagnostics_str(self, state: SamplerState) -> str:
        """Return a line for the progress bar."""
        return (
            f"{state.num_steps} steps of size {state.adapt_state.step_size:.2e}. "
            f"acc. prob={state.mean_accept_prob:.2f}"
        )

    @abstractmethod
    def build(self, logdensity: Callable, tuned: AdaptState) -> kernels.HMC | kernels.MALA:
        """Return the transition kernel of a log density."""

    @abstractmethod
    def choose_num_steps(self, step_size: float | None) -> int:
        """Return the leapfrog steps for a tuned step size, or for the warmup if None."""

    def target(self, key: jax.Array, args: tuple, kwargs: dict) -> Target:
        """Return the posterior for the model's arguments; runs the model only for new shapes."""
        if self._model is None:
            return potential_target(self._potential_fn)  # pyright: ignore[reportArgumentType]
        arguments = Arguments.of(args, kwargs)
        signature = arguments.signature()
        traced = self._traced_models.get(signature)
        if traced is None:
            traced = trace_model(key, self._model, self._init_strategy, args, kwargs)
            if not arguments.is_unique:
                self._traced_models[signature] = traced
        return traced.target(args, kwargs)

    def start(
        self,
        target: Target,
        keys: jax.Array,
        num_warmup: int,
        init_params: PyTree,
        progress_bar: bool = False,
    ) -> tuple[SamplerState, WarmupResult | None]:
        """Find initial positions and tune the kernel from there.

        Parameters
        ----------
        target
            The posterior.
        keys
            One key for one chain, or a key for each of several chains.
        num_warmup
            Steps of the warmup; if 0, step size and metric remain as given.
        init_params
            Unconstrained initial positions, with a leading axis for several chains; None for
            those of ``init_strategy``.
        progress_bar
            Whether to show one.

        Returns
        -------
        The state of the chains, and the result of the warmup, if there was one.
        """
        num_chains = None if is_prng_key(keys) else len(keys)
        key_init, key_warmup, key_next = split_keys(keys, 3)
        tuned = AdaptState(
            jnp.asarray(self._step_size),
            self._metric.inverse_mass_matrix(),
            self._metric,
            self.choose_num_steps(None),
        )
        kernel = self.build(target.logdensity, tuned)
        if init_params is not None:
            state = _state_at(target, kernel, init_params, num_chains)
        elif target.initialize is not None:
            state = target.initialize(key_init)
        else:
            raise ValueError("init_params must be given: potential_fn has no initial position")
        result = None
        if num_warmup:
            result = window_adaptation(
                first_key(key_warmup),
                kernel,
                state.position,
                num_warmup,
                num_chains=num_chains or 1,
                progress_bar=progress_bar,
                **self._adaptation,
            )
            state = result.state
            if num_chains is None:
                state = jax.tree.map(lambda leaf: leaf[0], state)
            tuned = AdaptState(
                result.step_size,
                result.inverse_mass_matrix,
                result.kernel.metric,
                tuned.num_steps,
            )
        num_steps = self.choose_num_steps(float(tuned.step_size))
        tuned = dataclasses.replace(tuned, num_steps=num_steps)
        return _first_state(state, tuned, key_next), result

    # The methods below serve NumPyro's own MCMC.

    def postprocess_fn(self, model_args: tuple, model_kwargs: dict) -> Callable:
        """Return the map from unconstrained positions to the values of all sites."""
        return self.target(jax.random.key(0), model_args, model_kwargs).constrain

    def init(
        self,
        rng_key: jax.Array,
        num_warmup: int,
        init_params: PyTree,
        model_args: tuple,
        model_kwargs: dict,
    ) -> SamplerState:
        """Return the state after a whole warmup.

        NumPyro's own MCMC makes ``num_warmup`` transitions of the tuned kernel after that.

        Raises
        ------
        RuntimeError
            If called while JAX traces, as for chains that NumPyro runs by ``pmap``.
        """
        if any_traced(rng_key):
            raise RuntimeError(
                "the warmup cannot be traced by JAX: use parallel_mcmc.numpyro.MCMC, or "
                'chain_method="sequential" or "vectorized"'
            )
        target = self.target(first_key(rng_key), model_args, model_kwargs or {})
        state, _ = self.start(target, rng_key, num_warmup, init_params)
        num_chains = None if is_prng_key(rng_key) else len(rng_key)
        return state._replace(adapt_state=_with_chains(state.adapt_state, num_chains))

    def sample(self, state: SamplerState, model_args: tuple, model_kwargs: dict) -> SamplerState:
        """Make one transition, of all chains if there are several."""
        # NumPyro's MCMC looks for `_sample_fn`: it initialises kernels without one at every run.
        step = partial(self._sample_fn, model_args=model_args, model_kwargs=model_kwargs)
        return step(state) if is_prng_key(state.rng_key) else jax.vmap(step)(state)

    def _sample_fn(
        self, state: SamplerState, model_args: tuple, model_kwargs: dict
    ) -> SamplerState:
        target = self.target(jax.random.key(0), model_args, model_kwargs or {})
        kernel = self.build(target.logdensity, state.adapt_state)
        before = GradientState(
            state.z, -state.potential_energy, jax.tree.map(jnp.negative, state.z_grad)
        )
        key, key_next = jax.random.split(state.rng_key)
        draw = kernel.draw(key, state.z)
        after, info = kernel.step(before, draw)
        i = state.i + 1
        mean = state.mean_accept_prob
        return SamplerState(
            i=i,
            z=after.position,
            z_grad=jax.tree.map(jnp.negative, after.logdensity_grad),
            potential_energy=-after.logdensity,
            energy=energy_of(after.logdensity, draw, info),
            num_steps=info.num_integration_steps,
            accept_prob=info.acceptance_rate,
            mean_accept_prob=mean + (info.acceptance_rate - mean) / i,
            diverging=info.is_divergent,
            accept_margin=info.accept_margin,
            adapt_state=state.adapt_state,
            rng_key=key_next,
        )

    def __getstate__(self) -> dict:
        # NumPyro's wrappers of a model cannot always be pickled, and are quickly made again.
        return self.__dict__ | {"_traced_models": {}}


def _state_at(
    target: Target, kernel: kernels.HMC | kernels.MALA, init_params: PyTree, num_chains: int | None
) -> GradientState:
    """Return the states at positions that the user gives."""

    def as_float(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(leaf.dtype if is_float else jnp.result_type(float))

    positions = jax.tree.map(as_float, init_params)
    if target.prototype is not None:
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target.prototype)
        expected = _with_chains(zeros, num_chains)
        require_like("init_params", positions, expected, "the model's unconstrained sites")
    try:
        states = initial_states(kernel, positions, num_chains or 1)
    except ValueError as error:
        raise ValueError(f"init_params: {error}") from error
    return states if num_chains else jax.tree.map(lambda leaf: leaf[0], states)


def _with_chains(tree: PyTree, num_chains: int | None) -> PyTree:
    """Repeat every leaf for the chains, if there are several."""
    if num_chains is None:
        return tree
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_chains, *leaf.shape)), tree)


def _first_state(state: GradientState, tuned: AdaptState, keys: jax.Array) -> SamplerState:
    """Return the state of chains that have made no transition yet."""
    zero = jnp.zeros_like(state.logdensity)
    count = jnp.zeros(zero.shape, int)
    return SamplerState(
        i=count,
        z=state.position,
        z_grad=jax.tree.map(jnp.negative, state.logdensity_grad),
        potential_energy=-state.logdensity,
        energy=-state.logdensity,
        num_steps=count,
        accept_prob=zero,
        mean_accept_prob=zero,
        diverging=jnp.zeros(zero.shape, bool),
        accept_margin=zero,
        adapt_state=tuned,
        rng_key=keys,
    )
