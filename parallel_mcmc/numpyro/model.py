"""NumPyro models as log densities whose data are arguments, not constants, of compiled code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from numpyro import handlers
from numpyro.infer.util import constrain_fn, initialize_model, potential_energy

from parallel_mcmc._tree import STATIC, PyTree, as_partial, pytree
from parallel_mcmc.kernels import GradientState


@dataclasses.dataclass(frozen=True)
class Constant:
    """An argument that is compiled in."""

    value: Any = dataclasses.field(compare=False)
    identity: Hashable
    """Equal for values that may share compiled code."""

    @classmethod
    def of(cls, value: Any) -> Constant:
        """Return ``value`` with its identity: type and value, or unique if it cannot be hashed."""
        try:
            hash(value)
        except TypeError:
            return cls(value, object())
        # The type as well: 1, 1.0 and True are equal.
        return cls(value, (type(value), value))


@pytree
@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of a model as a pytree: numeric arrays and floats are leaves, the rest static."""

    leaves: list[jax.Array]
    constants: tuple[Constant | None, ...] = dataclasses.field(metadata=STATIC)
    """One for every argument; None where the next leaf stands."""
    structure: Any = dataclasses.field(metadata=STATIC)

    @classmethod
    def of(cls, args: tuple, kwargs: dict, traced: bool = True) -> Arguments:
        """Return the arguments ``(args, kwargs)``; all are static if not ``traced``."""
        values, structure = jax.tree.flatten((args, kwargs))
        is_leaf = [traced and _is_numeric(value) for value in values]
        pairs = list(zip(values, is_leaf, strict=True))
        return cls(
            [jnp.asarray(value) for value, leaf in pairs if leaf],
            tuple(None if leaf else Constant.of(value) for value, leaf in pairs),
            structure,
        )

    def unpack(self) -> tuple[tuple, dict]:
        """Return ``(args, kwargs)``."""
        leaves = iter(self.leaves)
        values = [next(leaves) if c is None else c.value for c in self.constants]
        return jax.tree.unflatten(self.structure, values)

    def signature(self) -> Hashable:
        """Return what compiled code depends on: everything but the values of the leaves."""
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in self.leaves)
        return shapes, self.constants, self.structure

    @property
    def is_unique(self) -> bool:
        """Whether no other arguments can ever have this signature."""
        return any(c is not None and type(c.identity) is object for c in self.constants)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return isinstance(value, jax.Array | float | np.floating)


@pytree
@dataclasses.dataclass(frozen=True)
class SeededModel:
    """A model that needs no key; a pytree without leaves, compared by identity."""

    model: Callable = dataclasses.field(metadata=STATIC)
    """The model with its parameters substituted."""
    seeded: Callable = dataclasses.field(metadata=STATIC)
    """The same, to be run without a key."""
    init_strategy: Callable = dataclasses.field(metadata=STATIC)


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

    model: SeededModel
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
    key: jax.Array, model: Callable, init_strategy: Callable, args: tuple, kwargs: dict
) -> TracedModel:
    """Run a model once and return what sampling needs of it.

    Raises
    ------
    ValueError
        If the model has a discrete latent site, or no latent site.
    """
    substituted = handlers.substitute(handlers.seed(model, key), substitute_fn=init_strategy)
    trace = handlers.trace(substituted).get_trace(*args, **kwargs)
    _require_continuous(trace)
    fixed = {
        name: site["value"] for name, site in trace.items() if site["type"] in ("param", "mutable")
    }
    model = handlers.substitute(model, data=fixed)
    seeded = SeededModel(model, handlers.seed(model, 0), init_strategy)
    arguments = Arguments.of(args, kwargs)
    try:
        prototype = jax.eval_shape(_find_states, seeded, arguments, key).position
        reads_values = False
    except Exception:
        # The model has just run on values, so it is tracing them that fails: they are used in
        # shapes, conditions or NumPy. Compiled in, as NumPyro does it, they are at hand.
        arguments = Arguments.of(args, kwargs, traced=False)
        prototype = jax.eval_shape(_find_states, seeded, arguments, key).position
        reads_values = True
    return TracedModel(seeded, prototype, reads_values)


def potential_target(potential_fn: Callable) -> Target:
    """Return the target of a potential energy: no constraints, no initial states."""
    return Target(Partial(_negated, as_partial(potential_fn)), Partial(_identity), None, None)


def _require_continuous(trace: dict[str, dict]) -> None:
    latent = {
        name: site["fn"].support.is_discrete
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    if not latent:
        raise ValueError("model must have a latent sample site")
    for name, is_discrete in latent.items():
        if is_discrete:
            raise ValueError(
                f"model has the discrete latent site {name!r}; HMC and MALA need continuous "
                "ones. Sum it out, or use NumPyro's kernels, which can enumerate it"
            )


# Functions of the module, not closures: equal in every run, so that nothing compiles twice.


def _logdensity(model: SeededModel, arguments: Arguments, position: PyTree) -> jax.Array:
    args, kwargs = arguments.unpack()
    return -jnp.asarray(potential_energy(model.seeded, args, kwargs, position))


def _constrain(model: SeededModel, arguments: Arguments, position: PyTree) -> PyTree:
    # By running the model, since supports may depend on its arguments. In compiled code that costs
    # no more than the transforms: the likelihood is not computed.
    args, kwargs = arguments.unpack()
    return constrain_fn(model.seeded, args, kwargs, position, return_deterministic=True)


def _find_states(model: SeededModel, arguments: Arguments, keys: jax.Array) -> GradientState:
    args, kwargs = arguments.unpack()
    position, potential, gradient = initialize_model(
        keys,
        model.model,
        init_strategy=model.init_strategy,
        model_args=args,
        model_kwargs=kwargs,
    ).param_info
    return GradientState(position, -potential, jax.tree.map(jnp.negative, gradient))


_find_states_compiled = jax.jit(_find_states)


def _initialize(model: SeededModel, arguments: Arguments, keys: jax.Array) -> GradientState:
    """Return initial states, or raise NumPyro's RuntimeError if none is valid."""
    states = _find_states_compiled(model, arguments, keys)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states)):
        # Traced, NumPyro cannot tell; run as it is, it names the culprits and raises.
        return _find_states(model, arguments, keys)
    return states


def _negated(potential_fn: Callable, position: PyTree) -> jax.Array:
    return -potential_fn(position)


def _identity(position: PyTree) -> PyTree:
    return position
