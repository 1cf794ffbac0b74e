"""What the Newton loop is given: a step function and how to move its states."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from parallel_mcmc._errors import require_arrays, require_finite, require_like
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, as_partial, at, num_steps, pytree, repeated
from parallel_mcmc.solver.chart import Chart, Euclidean, is_real
from parallel_mcmc.solver.continuation import continued, fits_inputs
from parallel_mcmc.solver.operators import Operator


class Steps(NamedTuple):
    """Steps that were made; every field has a leading axis."""

    arguments: PyTree
    inputs: PyTree
    values: PyTree
    aux: PyTree


@pytree
@dataclasses.dataclass(frozen=True)
class Recurrence:
    """The recurrence ``state_t, aux_t = step(state_{t-1}, input_t)``.

    Parameters
    ----------
    step
        Takes one state and one input, returns the next state and whatever else is worth
        recording of the step.
    chart
        How corrections move a state.
    surrogate
        ``surrogate(state, input, next_state, aux)`` returns a model of the Jacobian of the
        coordinates of ``next_state`` that needs no differentiation: a scalar, a diagonal ``(D,)``
        or a matrix ``(D, D)``. None where no such model is known.
    margin
        ``margin(aux)``: how far a step was from deciding otherwise, for steps that decide
        (accept or reject). None where steps are continuous.
    predict
        ``predict(state, inputs)`` guesses the states that follow ``state``, one for each of
        ``inputs``. None to guess that the state stays as it is, or in a window that slides what
        the last linearisation predicts.
    agree
        ``agree(state, input, aux)`` returns the input by which a step decides as in the record
        ``aux`` of an earlier evaluation, where it is a tie up to rounding. None where steps decide
        nothing.
    """

    step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
    chart: Chart
    surrogate: Callable[..., jax.Array] | None = None
    margin: Callable[[PyTree], jax.Array] | None = None
    predict: Callable[[PyTree, PyTree], PyTree] | None = None
    agree: Callable[[PyTree, PyTree, PyTree], PyTree] | None = None

    def agreeing(self, state: PyTree, value: PyTree, record: PyTree) -> PyTree:
        """Return an input by which a tie is decided as in a record of the same step."""
        return value if self.agree is None else self.agree(state, value, record)

    def guess(self, state: PyTree, inputs: PyTree) -> PyTree:
        """Guess the states that follow ``state``, one for each of ``inputs``."""
        if self.predict is None:
            return repeated(state, num_steps(inputs))
        return self.predict(state, inputs)

    def lifted_step(
        self, coordinates: jax.Array, state: PyTree, value: PyTree
    ) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        """Evaluate the step as a function of the coordinates alone.

        Returns the coordinates of the next state, and the next state and the record as an
        auxiliary pair: the shape of function that Jacobian models differentiate.
        """
        next_state, aux = self.step(self.chart.lift(state, coordinates), value)
        return self.chart.coordinates(next_state), (next_state, aux)

    @property
    def straight(self) -> Recurrence:
        """The recurrence whose step has no loop, which is what derivatives are taken of."""
        return self

    def lifted_steps(
        self, coordinates: jax.Array, states: PyTree, inputs: PyTree
    ) -> tuple[jax.Array, tuple[PyTree, PyTree]]:
        """Evaluate :meth:`lifted_step` of the :attr:`straight` one for every leading index."""
        return jax.vmap(self.straight.lifted_step)(coordinates, states, inputs)

    def continues(self, inputs: PyTree, window: int, dim: int) -> bool:
        """Whether what enters a window of so many states goes on by what was found of it."""
        return self.predict is None and fits_inputs(inputs, window)

    def continued(
        self, operator: Operator, made: Steps, coming: PyTree, last: PyTree, reach: jax.Array
    ) -> PyTree:
        """Return a guess of the states after ``last``, one for each of the ``coming`` inputs.

        Parameters
        ----------
        operator, made
            Model of the Jacobian of every step of a window, and these steps.
        coming, last, reach
            As of :func:`~parallel_mcmc.solver.continuation.continued`; ``last`` is a state.
        """
        x, y = (jax.vmap(self.chart.coordinates)(side) for side in (made.arguments, made.values))
        start = self.chart.coordinates(last)
        path = continued(operator, x, y, made.inputs, coming, start, reach)
        return jax.vmap(self.chart.place)(repeated(last, len(path)), path)

    def edge_contraction(self, contraction: jax.Array) -> jax.Array:
        """Return how much an edge shrinks an error, by how much the whole step does."""
        return contraction

    def modelled(
        self,
        model: Callable[..., jax.Array],
        states: PyTree,
        inputs: PyTree,
        values: PyTree,
        aux: PyTree,
    ) -> jax.Array:
        """Return a model of the Jacobian, called as :attr:`surrogate` is, of every step."""
        return jax.vmap(model)(states, inputs, values, aux)


def margins_of(margin: Callable[[PyTree], jax.Array], records: PyTree, count: int) -> jax.Array:
    """Return the margins of ``count`` steps, by what each recorded: maybe nothing at all."""
    # The size is given, because there may be no array to take it from.
    return jax.vmap(margin, axis_size=count)(records)


@pytree
@dataclasses.dataclass(frozen=True)
class _WithoutRecord:
    step: Callable[[PyTree, PyTree], PyTree]

    @full_precision()
    def __call__(self, state: PyTree, value: PyTree) -> tuple[PyTree, tuple[()]]:
        return self.step(state, value), ()


def plain_recurrence(step: Callable[[PyTree, PyTree], Any]) -> Recurrence:
    """Return the recurrence of a user's ``step(state, input) -> state``."""
    return Recurrence(_WithoutRecord(as_partial(step)), Euclidean())


def common_length(name: str, tree: PyTree, least: int = 1) -> int:
    """Return the length of the leading axis of ``tree``; raises ValueError if there is not one."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(tree)]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or min(lengths) < least:
        raise ValueError(
            f"{name} must have leaves with one common leading axis of at least {least}, got shapes "
            f"{shapes}"
        )
    return shapes[0][0]


def checked_state(initial_state: PyTree) -> PyTree:
    """Return ``initial_state`` as arrays.

    Raises
    ------
    TypeError
        If a leaf is no array.
    ValueError
        If no leaf is floating point, or a number is not finite.
    """
    initial_state = require_arrays("initial_state", initial_state)
    if not any(is_real(leaf) for leaf in jax.tree.leaves(initial_state)):
        raise ValueError("initial_state must have a floating-point leaf, got none")
    require_finite("initial_state", initial_state)
    return initial_state


def require_fitting(recurrence: Recurrence, initial_state: PyTree, inputs: PyTree) -> None:
    """Raise ValueError unless the step maps states like ``initial_state`` to their like.

    It is traced for that: on a hot path, call this where the solver is traced.
    """

    def first_step(recurrence: Recurrence, state: PyTree, inputs: PyTree) -> PyTree:
        return recurrence.step(state, at(inputs, 0))[0]

    try:
        value = jax.eval_shape(first_step, recurrence, initial_state, inputs)
    except (TypeError, ValueError) as error:
        ours = [leaf.shape for leaf in jax.tree.leaves(initial_state)]
        given = [leaf.shape[1:] for leaf in jax.tree.leaves(inputs)]
        raise ValueError(
            f"step does not accept initial_state, shapes {ours}, with one of inputs, shapes "
            f"{given}: {error}"
        ) from error
    require_like("the value of step", value, initial_state, "initial_state")


def checked_states(name: str, states: PyTree, initial_state: PyTree, total: int) -> PyTree:
    """Return ``states`` as arrays, if they are ``total`` states like ``initial_state``, all finite.

    Raises
    ------
    TypeError
        If a leaf is no array.
    ValueError
        If their structure, shapes or dtypes differ, or a number is not finite.
    """
    states = require_arrays(name, states)
    chain = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((total, *leaf.shape), leaf.dtype), initial_state
    )
    require_like(name, states, chain, f"{total} states")
    require_finite(name, states)
    return states
