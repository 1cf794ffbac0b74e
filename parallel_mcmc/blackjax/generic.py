"""Any BlackJAX algorithm as a recurrence: its own step, with the keys drawn beforehand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import STATIC, PyTree, as_partial, at, pytree
from parallel_mcmc.blackjax.dependence import independent_leaves, primitives_of
from parallel_mcmc.solver.chart import Chart, Euclidean, is_real
from parallel_mcmc.solver.jacobian import Dense, Diagonal, Surrogate, Zero
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.verdict import MARGIN_SLOPE

FREE = {"position", "momentum", "slice", "random_generator_arg"}
"""Fields of BlackJAX states that a step may choose freely."""
DERIVED = {"logdensity", "logdensity_grad"}
"""Fields that the position determines."""
NO_FORWARD_DERIVATIVE = "custom_lin"
"""What JAX puts for the derivative of a ``custom_vjp`` function, and cannot evaluate."""
LARGEST_DENSE = 32
"""Dimensions up to which the Jacobian is computed in full."""


class NotSolvable(Exception):
    """The algorithm cannot be solved in parallel; the message says why."""


class Steps(NamedTuple):
    """An algorithm as the solver takes it."""

    recurrence: Recurrence
    inputs: PyTree
    """What step t is given beside the state, leading axis T."""


@pytree
@dataclasses.dataclass(frozen=True)
class DensityChart:
    """Position, momentum and slice variable are free; the log density follows from the position.

    ``init`` is the algorithm's own: it evaluates the log density and its gradient.
    """

    init: Callable[..., PyTree]

    def coordinates(self, state: Any) -> jax.Array:
        """Return the floating-point numbers of the free fields, shape ``(D,)``."""
        return Euclidean().coordinates(_free(state))

    def place(self, state: Any, coordinates: jax.Array) -> Any:
        """Return the state with other free fields and the old log density."""
        return state._replace(**Euclidean().place(_free(state), coordinates))

    def lift(self, state: Any, coordinates: jax.Array) -> Any:
        """Evaluate the log density and its gradient."""
        return _evaluated(self.init, self.place(state, coordinates))

    def rest(self, state: Any) -> PyTree:
        """Return the free fields that are not floating point."""
        return Euclidean().rest(_free(state))


def _free(state: Any) -> dict[str, PyTree]:
    return {name: getattr(state, name) for name in state._fields if name in FREE}


def _evaluated(init: Callable, state: Any) -> Any:
    """Return ``state`` with the log density of its position."""
    # Some algorithms draw a momentum or a slice variable here: those are not used.
    fresh = init(state.position, jax.random.key(0))
    fields = [name for name in state._fields if name in DERIVED]
    return state._replace(
        **{
            name: jax.tree.map(
                lambda new, old: jnp.asarray(new, old.dtype),
                getattr(fresh, name),
                getattr(state, name),
            )
            for name in fields
        }
    )


def choose_chart(init: Callable, state: PyTree) -> Chart:
    """Return the coordinates that the states of an algorithm are solved in."""
    fields = set(getattr(state, "_fields", ()))
    if not {"position", "logdensity"} <= fields <= FREE | DERIVED:
        return Euclidean()
    try:
        evaluated = jax.eval_shape(lambda state: _evaluated(init, state), state)
    except Exception:
        # An `init` of another kind, which asks for more than the position.
        return Euclidean()
    same = jax.tree.structure(evaluated) == jax.tree.structure(state)
    return DensityChart(as_partial(init)) if same else Euclidean()


@pytree
@dataclasses.dataclass(frozen=True)
class _KeyedStep:
    """The step as a function of a state and of what is known of the step beforehand."""

    step: Callable[..., tuple[PyTree, PyTree]]
    known: tuple[bool, ...] = dataclasses.field(metadata=STATIC)

    def __call__(self, state: PyTree, value: tuple[jax.Array, list]) -> tuple[PyTree, PyTree]:
        key, leaves = value
        return self.step(key, _with_known(state, self.known, leaves))


def _with_known(state: PyTree, known: tuple[bool, ...], values: list) -> PyTree:
    leaves, treedef = jax.tree.flatten(state)
    remaining = iter(values)
    return treedef.unflatten(
        [next(remaining) if k else leaf for k, leaf in zip(known, leaves, strict=True)]
    )


def _known(state: PyTree, known: tuple[bool, ...]) -> list:
    return [leaf for k, leaf in zip(known, jax.tree.leaves(state), strict=True) if k]


def as_steps(
    step: Callable, init: Callable, state: PyTree, keys: jax.Array, tolerance: float
) -> Steps:
    """Return a BlackJAX step as a recurrence.

    Counters and keys in the state that evolve by themselves are computed beforehand, so that the
    solver finds them given.

    Parameters
    ----------
    step, init
        Those of the algorithm.
    state
        The first state.
    keys
        One for each step.
    tolerance
        The solver's.

    Raises
    ------
    NotSolvable
        If the state has no floating-point coordinates, or the step has side effects or cannot be
        evaluated in batches.
    """
    chart = choose_chart(init, state)
    if not any(is_real(leaf) for leaf in jax.tree.leaves(_moving(chart, state))):
        raise NotSolvable("its position has no floating-point entry, which Newton's method needs")
    known = independent_leaves(step, keys[0], state)
    if known is None:
        raise NotSolvable("its step has side effects, such as a callback")

    def advance(leaves: list, key: jax.Array) -> tuple[list, list]:
        moved, _ = step(key, _with_known(state, known, leaves))
        return _known(moved, known), leaves

    given = jax.lax.scan(advance, _known(state, known), keys)[1] if any(known) else []
    recurrence = Recurrence(
        _KeyedStep(as_partial(step), known),
        chart,
        # How near a step was to deciding otherwise is not known: accept none whose argument
        # misses the state before it by more than the tolerance.
        margin=jax.tree_util.Partial(_constant_margin, MARGIN_SLOPE * tolerance),
    )
    inputs = (keys, given)
    try:
        jax.eval_shape(jax.vmap(recurrence.step, in_axes=(None, 0)), state, inputs)
    except Exception as error:  # whatever an operation without a batching rule raises
        raise NotSolvable(f"its step cannot be evaluated in batches: {error}") from error
    return Steps(recurrence, inputs)


def _moving(chart: Chart, state: Any) -> PyTree:
    return state.position if isinstance(chart, DensityChart) else state


def _constant_margin(margin: float, info: PyTree) -> jax.Array:
    return jnp.asarray(margin)


def default_method(steps: Steps, state: PyTree) -> Newton:
    """Return the method for a step of which nothing is known but how to evaluate it."""
    recurrence = steps.recurrence
    coordinates = jax.eval_shape(recurrence.chart.coordinates, state)
    first = at(steps.inputs, 0)

    def derivative(x: jax.Array) -> Any:
        return jax.linearize(lambda x: recurrence.lifted_step(x, state, first)[0], x)[1](x)

    try:
        primitives = primitives_of(jax.make_jaxpr(derivative)(coordinates).jaxpr)
    except Exception:
        # An operation without a derivative.
        return Newton(Zero())
    if NO_FORWARD_DERIVATIVE in primitives:
        return Newton(Zero())
    return Newton(Dense() if coordinates.size <= LARGEST_DENSE else Diagonal())


def native_method(position: PyTree) -> Newton:
    """Return the method for the kernels of this package.

    BlackJAX's algorithms come with any metric or none, and the kernels' own model of the Jacobian
    is for a good one.
    """
    dim = sum(jnp.size(leaf) for leaf in jax.tree.leaves(position))
    return Newton(Dense() if dim <= LARGEST_DENSE else Surrogate())


def settled(step: Callable, state: PyTree, key: jax.Array) -> PyTree:
    """Return the state with the dtypes that the step gives it, as ``lax.scan`` would.

    Python numbers and other weakly typed values take the type of the step's result.
    """
    state = jax.tree.map(jnp.asarray, state)
    if not any(_is_weak(leaf) for leaf in jax.tree.leaves(state)):
        return state
    result = jax.eval_shape(lambda key, state: step(key, state)[0], key, state)
    if jax.tree.structure(result) != jax.tree.structure(state):
        return state
    return jax.tree.map(
        lambda leaf, wanted: leaf.astype(wanted.dtype) if _is_weak(leaf) else leaf, state, result
    )


def _is_weak(leaf: jax.Array) -> bool:
    return getattr(leaf, "weak_type", False)
