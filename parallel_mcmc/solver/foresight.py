"""Where the lanes of shooting begin, as far as a model of the recurrence can tell."""

from __future__ import annotations

from collections.abc import Callable

import jax

from parallel_mcmc._tree import PyTree, at, preceding, select
from parallel_mcmc.solver.recurrence import Recurrence

TRUSTED = 0.2
"""Largest residual of a step between guessed states, in units of the scale. Of regressions on many
rows it is some hundredths. States that the eight schools or the banana seem to have, by a model of
their posterior that is a Gaussian, are further off, and a chain stays long where it never is."""

EVALUATIONS = 2
"""Of the step, for each sequence: the last state but one is evaluated, and the step from it."""


def foreseen(
    recurrence: Recurrence,
    states: PyTree,
    inputs: PyTree,
    counts: jax.Array,
    distance: Callable[[PyTree, PyTree], jax.Array],
) -> PyTree:
    """Return the states after ``inputs``, of many sequences, as far as they can be foreseen.

    The steps are guessed, as if the sequence had been in its state before them. A true step
    from the guess tells whether that is to be trusted; else the state stays as it is.

    Parameters
    ----------
    recurrence
        A recurrence with a model of its own to guess by.
    states
        States that the sequences once were in, leading axis B.
    inputs
        Of their steps, leading axes ``(B, T)``.
    counts
        How many of them are made in each sequence, ``(B,)``, from 1 to T.
    distance
        Between two states of all sequences, shape ``(B,)``, in units of the scale.
    """

    def last(sequence: PyTree, count: jax.Array) -> PyTree:
        return at(sequence, count - 1)

    paths = jax.vmap(recurrence.guess)(states, inputs)
    ways = jax.vmap(preceding)(states, paths), paths, inputs
    before, guessed, values = jax.vmap(last)(ways, counts)
    x = jax.vmap(recurrence.chart.coordinates)(before)
    _, (reached, _) = recurrence.lifted_steps(x, before, values)
    return select(distance(reached, guessed) <= TRUSTED, reached, states)
