"""NumPyro models as log densities whose data are arguments, not constants, of compiled code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from numpyro import handlers
from numpyro.infer.util import constrain_fn, initialize_model, potential_energy
from numpyro.primitives import Messenger

from parallel_mcmc._tree import STATIC, PyTree, any_traced, as_partial, pytree
from parallel_mcmc.kernels import GradientState
from parallel_mcmc.numpyro.arguments import Arguments


class FixedKey(Messenger):
    """Give key 0 to who asks for one by ``numpyro.prng_key``, as NumPyro does inside its HMC."""

    def process_message(self, msg: dict) -> None:
        """Answer the question for a key."""
        if msg["type"] == "prng_key" and msg["value"] is None:
            msg["value"] = jax.random.key(0)


@pytree
@dataclasses.dataclass(frozen=True)
class PreparedModel:
    """A model in the forms that sampling needs; a pytree without leaves, compared by identity."""

    model: Callable = dataclasses.field(metadata=STATIC)
    """The model with its parameters substituted."""
    density: Callable = dataclasses.field(metadata=STATIC)
    """The same, to be run without a key; its discrete latent sites are enumerated."""
    seeded: Callable = dataclasses.field(metadata=STATIC)
    """The same, to be run without a key; its discrete latent sites are drawn."""
    is_enumerated: bool = dataclasses.field(metadata=STATIC)
    init_strategy: Callable = dataclasses.field(metadata=STATIC)
    forward_mode: bool = dataclasses.field(metadata=STATIC)
    """Whether to differentiate in forward mode."""


class Target(NamedTuple):
    """The posterior of a model for given arguments."""

    logdensity: Partial
    """Log density of an unconstrained position."""
    constrain: Partial
    """From an unconstrained position to the values of all sites, deterministic ones included."""
    initialize: Partial | None
    """Initial states for one key or a batch of keys."""
    prototype: PyTree
    """Shapes and dtypes of an unconstrained position; None if there is no model to tell them."""


class TracedModel(NamedTuple):
    """A model that has been run once, for arguments of one signature."""

    model: PreparedModel
    prototype: PyTree
    reads_values: bool
    """Whether the model needs the values of its arguments while it is traced."""

    def target(self, args: tuple, kwargs: dict) -> Target:
        """Return the posterior given arguments of the same signature."""
        arguments = Arguments.of(args, kwargs, traced=not self.reads_values)
        return Target(
            Partial(_logdensity, self.model, arguments),
            Partial(_constrain, self.model, arguments),
            Partial(_initialize, self.model, arguments),
            self.prototype,
        )


def trace_model(
    key: jax.Array,
    model: Callable,
    init_strategy: Callable,
    forward_mode: bool,
    args: tuple,
    kwargs: dict,
) -> TracedModel:
    """Run a model once and return what sampling needs of it.

    Raises
    ------
    ValueError
        If the model has no continuous latent site, a discrete one that cannot be summed out, a
        plate that draws a subsample, or a structure that depends on the values of its latent sites.
    ImportError
        If the model has a discrete latent site and funsor is not installed.
    """
    substituted = handlers.substitute(handlers.seed(model, key), substitute_fn=init_strategy)
    trace = handlers.trace(substituted).get_trace(*args, **kwargs)
    discrete = _discrete_sites(trace)
    fixed = {
        name: site["value"] for name, site in trace.items() if site["type"] in ("param", "mutable")
    }
    model = handlers.substitute(model, data=fixed)
    prepared = PreparedModel(
        model,
        _enumerated(FixedKey(model), trace, discrete) if discrete else FixedKey(model),
        handlers.seed(model, 0),
        bool(discrete),
        init_strategy,
        forward_mode,
    )
    arguments = Arguments.of(args, kwargs)
    try:
        prototype = jax.eval_shape(_find_states, prepared, arguments, key).position
        reads_values = False
    except Exception:
        # The model has just run on values, so it is tracing them that fails: they are used in
        # shapes, conditions or NumPy. Compiled in, as NumPyro does it, they are at hand.
        arguments = Arguments.of(args, kwargs, traced=False)
        try:
            prototype = jax.eval_shape(_find_states, prepared, arguments, key).position
        except jax.errors.JAXTypeError as error:
            raise ValueError(
                "model must not decide by the values of its latent sites, in a Python condition, "
                "a shape or NumPy code: use jnp.where or jax.lax.cond. "
                f"{str(error).splitlines()[0]}"
            ) from error
        reads_values = True
    return TracedModel(prepared, prototype, reads_values)


def potential_target(potential_fn: Callable, forward_mode: bool) -> Target:
    """Return the target of a potential energy: no constraints, no initial states."""
    negated = Partial(_negated, as_partial(potential_fn))
    logdensity = Partial(_by_forward_mode, negated) if forward_mode else negated
    return Target(logdensity, Partial(_identity), None, None)


def _discrete_sites(trace: dict[str, dict]) -> list[str]:
    """Return the discrete latent sites, or raise if the model cannot be sampled."""
    for name, site in trace.items():
        if site["type"] == "plate" and site["kwargs"].get("rng_key") is not None:
            raise ValueError(
                f"model draws a subsample in the plate {name!r}: the kernels need all the data, "
                "or indices that numpyro.handlers.substitute gives"
            )
    latent = {
        name: site
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    discrete = [name for name, site in latent.items() if site["fn"].support.is_discrete]
    if len(discrete) == len(latent):
        sites = f", only the discrete {discrete}" if discrete else ""
        raise ValueError(f"model must have a continuous latent sample site, it has none{sites}")
    for name in discrete:
        if not latent[name]["fn"].has_enumerate_support:
            raise ValueError(
                f"model has the discrete latent site {name!r}, and its distribution "
                f"{type(latent[name]['fn']).__name__} has too many values to sum it out"
            )
        kind = latent[name]["infer"].get("enumerate", "parallel")
        if kind != "parallel":
            raise ValueError(
                f"model must mark the discrete latent site {name!r} by infer={{'enumerate': "
                f"'parallel'}}, got {kind!r}"
            )
    return discrete


def _enumerated(model: Callable, trace: dict[str, dict], discrete: list[str]) -> Callable:
    """Return the model with its discrete latent sites summed out."""
    try:
        from numpyro.contrib.funsor import config_enumerate, enum
    except ImportError as error:
        raise ImportError(
            f"model has the discrete latent sites {discrete}: NumPyro sums them out with the "
            "package funsor, which is not installed"
        ) from error
    dims = [
        frame.dim
        for site in trace.values()
        if site["type"] == "sample"
        for frame in site["cond_indep_stack"]
    ]
    return enum(config_enumerate(model), min(dims, default=0) - 1)


# Functions of the module, not closures: equal in every run, so that nothing compiles twice.


def _logdensity(model: PreparedModel, arguments: Arguments, position: PyTree) -> jax.Array:
    def logdensity(position: PyTree) -> jax.Array:
        args, kwargs = arguments.unpack()
        potential = potential_energy(
            model.density, args, kwargs, position, enum=model.is_enumerated
        )
        return -jnp.asarray(potential)

    if model.forward_mode:
        return _by_forward_mode(logdensity, position)
    return logdensity(position)


def _by_forward_mode(logdensity: Callable, position: PyTree) -> jax.Array:
    """Evaluate a log density that is differentiated in forward mode whatever JAX is asked for."""

    @jax.custom_vjp
    def value(position: PyTree) -> jax.Array:
        return logdensity(position)

    def forward(position: PyTree) -> tuple[jax.Array, PyTree]:
        flat, unravel = ravel_pytree(position)
        gradient = jax.jacfwd(lambda flat: logdensity(unravel(flat)))(flat)
        return logdensity(position), unravel(gradient)

    def backward(gradient: PyTree, cotangent: jax.Array) -> tuple[PyTree]:
        return (jax.tree.map(lambda leaf: cotangent * leaf, gradient),)

    value.defvjp(forward, backward)
    return value(position)


def _constrain(model: PreparedModel, arguments: Arguments, position: PyTree) -> PyTree:
    # By running the model, since supports may depend on its arguments. In compiled code that costs
    # no more than the transforms: the likelihood is not computed.
    args, kwargs = arguments.unpack()
    return constrain_fn(model.seeded, args, kwargs, position, return_deterministic=True)


def _find_states(model: PreparedModel, arguments: Arguments, keys: jax.Array) -> GradientState:
    args, kwargs = arguments.unpack()
    position, potential, gradient = initialize_model(
        keys,
        model.model,
        init_strategy=model.init_strategy,
        model_args=args,
        model_kwargs=kwargs,
        forward_mode_differentiation=model.forward_mode,
    ).param_info
    return GradientState(position, -potential, jax.tree.map(jnp.negative, gradient))


_find_states_compiled = jax.jit(_find_states)


def _initialize(model: PreparedModel, arguments: Arguments, keys: jax.Array) -> GradientState:
    """Return initial states, or raise NumPyro's RuntimeError if none is valid."""
    states = _find_states_compiled(model, arguments, keys)
    if any_traced(states):
        return states
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states)):
        # Traced, NumPyro cannot tell; run as it is, it names the culprits and raises.
        return _find_states(model, arguments, keys)
    return states


def _negated(potential_fn: Callable, position: PyTree) -> jax.Array:
    return -potential_fn(position)


def _identity(position: PyTree) -> PyTree:
    return position
