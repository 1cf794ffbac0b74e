"""What the kernels have in common as NumPyro kernels."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer import init_to_uniform
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from parallel_mcmc._errors import require_callable, require_flag, require_like, require_positive
from parallel_mcmc._tree import PyTree, any_traced, at
from parallel_mcmc.kernels.base import DensityState, GradientState
from parallel_mcmc.kernels.metric import metric
from parallel_mcmc.kernels.start import initial_states
from parallel_mcmc.kernels.whitened import WhitenedKernel
from parallel_mcmc.numpyro.arguments import Arguments
from parallel_mcmc.numpyro.metric import require_structure, wanted_metric
from parallel_mcmc.numpyro.model import (
    Target,
    TracedModel,
    potential_target,
    trace_model,
)
from parallel_mcmc.numpyro.state import (
    AdaptState,
    SamplerState,
    as_fields,
    energy_of,
    first_key,
    first_state,
    split_keys,
    transition_key,
)
from parallel_mcmc.solver import Newton, Shooting
from parallel_mcmc.warmup import LowRank, WarmupResult, window_adaptation


class Start(NamedTuple):
    """Where the chains stand before the first draw."""

    state: SamplerState
    result: WarmupResult | None
    """Of the warmup, if there was one."""
    warmup_keys: jax.Array | None
    """The keys of the warmup's draws, shape ``(num_chains, num_warmup)``."""


class Sampler(MCMCKernel):
    """Base of the kernels: what is the same for all of them."""

    state_type: ClassVar[type[GradientState] | type[DensityState]] = GradientState
    """What the states of the transition kernel are."""
    energy_of: ClassVar[Callable] = staticmethod(energy_of)
    """From log density, random numbers and information of a transition to the energy after it."""

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
        target_accept_prob: float = 0.8,
        init_strategy: Callable = init_to_uniform,
        find_heuristic_step_size: bool = True,
        forward_mode_differentiation: bool = False,
        regularize_mass_matrix: bool = True,
    ) -> None:
        if (model is None) == (potential_fn is None):
            raise ValueError("exactly one of model and potential_fn must be given")
        if model is not None:
            require_callable("model", model)
        else:
            require_callable("potential_fn", potential_fn)
        require_callable("init_strategy", init_strategy)
        require_structure(dense_mass, inverse_mass_matrix)
        if model is None and not (
            isinstance(dense_mass, bool | LowRank) and not isinstance(inverse_mass_matrix, dict)
        ):
            raise ValueError(
                "dense_mass and inverse_mass_matrix must not name sites: potential_fn has none"
            )
        require_positive("target_accept_prob", target_accept_prob)
        if not any_traced(target_accept_prob) and not target_accept_prob < 1:
            raise ValueError(f"target_accept_prob must be less than 1, got {target_accept_prob}")
        self._model = model
        self._potential_fn = potential_fn
        self._step_size = require_positive("step_size", step_size)
        self._inverse_mass_matrix = inverse_mass_matrix
        self._dense_mass = dense_mass
        self._init_strategy = init_strategy
        self._forward_mode = require_flag(
            "forward_mode_differentiation", forward_mode_differentiation
        )
        self._adaptation = {
            "adapt_step_size": require_flag("adapt_step_size", adapt_step_size),
            "adapt_mass_matrix": require_flag("adapt_mass_matrix", adapt_mass_matrix),
            "find_step_size": require_flag("find_heuristic_step_size", find_heuristic_step_size),
            "regularise": require_flag("regularize_mass_matrix", regularize_mass_matrix),
            "target_acceptance_rate": target_accept_prob,
        }
        self._traced_models: dict[Hashable, TracedModel] = {}

    @property
    def model(self) -> Callable | None:
        """The NumPyro model, if there is one."""
        return self._model

    @property
    def takes_gradient(self) -> bool:
        """Whether the states of the kernel hold a gradient."""
        return "logdensity_grad" in self.state_type._fields

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
    def build(self, logdensity: Callable, tuned: AdaptState) -> WhitenedKernel:
        """Return the transition kernel of a log density."""

    def target(self, key: jax.Array, args: tuple, kwargs: dict) -> Target:
        """Return the posterior for the model's arguments; runs the model only for new shapes."""
        if self._model is None:
            assert self._potential_fn is not None
            return potential_target(self._potential_fn, self._forward_mode)
        arguments = Arguments.of(args, kwargs)
        signature = arguments.signature()
        traced = self._traced_models.get(signature)
        if traced is None:
            traced = trace_model(
                key, self._model, self._init_strategy, self._forward_mode, args, kwargs
            )
            # What has met JAX's abstract values must not outlive them.
            if not arguments.is_unique and not any_traced(key, args, kwargs):
                self._traced_models[signature] = traced
        return traced.target(args, kwargs)

    def start(
        self,
        target: Target,
        keys: jax.Array,
        num_warmup: int,
        init_params: PyTree,
        *,
        keep_draws: bool = False,
        progress_bar: bool = False,
        solver: str | Newton | Shooting = "sequential",
        window: int | None = None,
    ) -> Start:
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
        keep_draws
            Whether the result holds the draws of the warmup.
        progress_bar
            Whether to show one.
        solver, window
            How the blocks of the warmup are solved.
        """
        num_chains = None if is_prng_key(keys) else len(keys)
        key_init, key_warmup, key_next = split_keys(keys, 3)
        if init_params is not None:
            states = self._states_at(target, init_params, num_chains)
        elif target.initialize is not None:
            states = self._kernel_state(**target.initialize(key_init)._asdict())
        else:
            raise ValueError("init_params must be given: potential_fn has no initial position")
        position = states.position
        if num_chains is not None:
            position = at(position, 0)
        wanted = wanted_metric(
            target.prototype, position, self._inverse_mass_matrix, self._dense_mass
        )
        step_size = jnp.asarray(self._step_size, jnp.result_type(float))
        tuned = AdaptState(step_size, wanted.given, wanted.blocks)
        result, warmup_keys = None, None
        if num_warmup:
            key_warmup = first_key(key_warmup)
            result = window_adaptation(
                key_warmup,
                self.build(target.logdensity, tuned),
                states.position,
                num_warmup,
                num_chains=num_chains or 1,
                dense=wanted.dense,
                structure=wanted.structure,
                keep_draws=keep_draws,
                progress_bar=progress_bar,
                solver=solver,
                window=window,
                **self._adaptation,
            )
            states = result.state
            if num_chains is None:
                states = at(states, 0)
            step_size = self.limit_step_size(result.step_size)
            tuned = AdaptState(step_size, result.kernel.metric, tuned.blocks)
            warmup_keys = _warmup_keys(key_warmup, num_warmup, num_chains or 1)
        if num_chains is not None:
            tuned = jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (num_chains, *leaf.shape)), tuned
            )
        return Start(first_state(states, tuned, key_next), result, warmup_keys)

    def limit_step_size(self, step_size: jax.Array) -> jax.Array:
        """Return a tuned step size, no larger than makes a difference."""
        return step_size

    def _kernel_state(self, **fields: PyTree) -> Any:
        """Return a state of the transition kernel with those of ``fields`` that it has."""
        return self.state_type(*(fields[name] for name in self.state_type._fields))

    def _states_at(self, target: Target, init_params: PyTree, num_chains: int | None) -> Any:
        """Return the states at positions that the user gives."""
        positions = jax.tree.map(_as_float, init_params)
        if target.prototype is not None:
            chains = () if num_chains is None else (num_chains,)
            expected = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((*chains, *leaf.shape), leaf.dtype),
                target.prototype,
            )
            require_like("init_params", positions, expected, "the model's unconstrained sites")
        kernel = self.build(target.logdensity, AdaptState(jnp.ones(()), metric(None), None))
        try:
            states = initial_states(kernel, positions, num_chains or 1)
        except ValueError as error:
            raise ValueError(f"init_params: {error}") from error
        return states if num_chains else at(states, 0)

    # The methods below serve NumPyro's own MCMC and its composite kernels.

    def postprocess_fn(self, model_args: tuple, model_kwargs: dict) -> Callable:
        """Return the map from unconstrained positions to the values of all sites."""
        return self.target(jax.random.key(0), model_args, model_kwargs or {}).constrain

    def init(
        self,
        rng_key: jax.Array,
        num_warmup: int,
        init_params: PyTree = None,
        model_args: tuple = (),
        model_kwargs: dict | None = None,
    ) -> SamplerState:
        """Return the state after a whole warmup.

        NumPyro's own MCMC makes ``num_warmup`` transitions of the tuned kernel after that.
        """
        target = self.target(first_key(rng_key), model_args, model_kwargs or {})
        return self.start(target, rng_key, num_warmup, init_params).state

    def sample(
        self, state: SamplerState, model_args: tuple, model_kwargs: dict | None
    ) -> SamplerState:
        """Make one transition, of all chains if there are several.

        Raises
        ------
        ValueError
            If the state has a gradient and the kernel takes none, or the other way round.
        """
        # NumPyro's MCMC looks for `_sample_fn`: it initialises kernels without one at every run.
        step = partial(self._sample_fn, model_args=model_args, model_kwargs=model_kwargs)
        return step(state) if is_prng_key(state.rng_key) else jax.vmap(step)(state)

    def _sample_fn(
        self, state: SamplerState, model_args: tuple, model_kwargs: dict | None
    ) -> SamplerState:
        if (state.z_grad is not None) != self.takes_gradient:
            raise ValueError(
                f"state must {'' if self.takes_gradient else 'not '}have a gradient z_grad for "
                f"{type(self).__name__}: that of another kernel needs refresh first"
            )
        target = self.target(jax.random.key(0), model_args, model_kwargs or {})
        kernel = self.build(target.logdensity, state.adapt_state)
        before = self._kernel_state(
            position=state.z,
            logdensity=-state.potential_energy,
            logdensity_grad=jax.tree.map(jnp.negative, state.z_grad),
        )
        draw = kernel.draw(transition_key(state.rng_key, state.i), state.z)
        after, info = kernel.step(before, draw)
        i = state.i + 1
        mean = state.mean_accept_prob
        return SamplerState(
            i=i,
            **as_fields(after),
            energy=self.energy_of(after.logdensity, draw, info),
            num_steps=info.num_integration_steps.astype(state.num_steps.dtype),
            accept_prob=info.acceptance_rate,
            mean_accept_prob=mean + (info.acceptance_rate - mean) / i,
            diverging=info.is_divergent,
            accept_margin=info.accept_margin,
            adapt_state=state.adapt_state,
            rng_key=state.rng_key,
        )

    def refresh(
        self, state: SamplerState, model_args: tuple, model_kwargs: dict | None
    ) -> SamplerState:
        """Return the state with potential energy and gradient for other arguments."""
        target = self.target(jax.random.key(0), model_args, model_kwargs or {})
        kernel = self.build(target.logdensity, state.adapt_state)
        return state._replace(**as_fields(kernel.move(None, state.z)))

    def wrap_model(self, wrapper: Callable) -> Sampler:
        """Return a copy of the kernel with the model ``wrapper(model)``.

        Raises
        ------
        ValueError
            If the kernel has a ``potential_fn`` in place of a model.
        """
        if self._model is None:
            raise ValueError("wrap_model needs a kernel of a model, this one has a potential_fn")
        wrapped = copy.copy(self)
        wrapped._model = wrapper(self._model)
        wrapped._traced_models = {}
        return wrapped

    def __getstate__(self) -> dict:
        # NumPyro's wrappers of a model cannot always be pickled, and are quickly made again.
        return self.__dict__ | {"_traced_models": {}}


def _as_float(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf.astype(leaf.dtype if is_float else jnp.result_type(float))


@partial(jax.jit, static_argnums=(1, 2))
def _warmup_keys(key: jax.Array, num_steps: int, num_chains: int) -> jax.Array:
    """Return the keys of the draws of :func:`parallel_mcmc.warmup.window_adaptation`."""
    split = partial(jax.random.split, num=num_chains)
    return jax.vmap(split, out_axes=1)(jax.random.split(key, num_steps))
