"""Unknown states every few steps, with the steps between them made one after the other.

A stride of S turns a recurrence into that of every S-th state: its step makes S of the steps. The
iteration then has fewer unknowns, and between them no error but the one they start with: this is
multiple shooting (Bock and Plitt, IFAC Proceedings 17, 1984), of which a stride of 1 is the
collocation of every state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from parallel_mcmc._tree import PyTree, at, num_steps, preceding, pytree
from parallel_mcmc.solver.buffers import joined
from parallel_mcmc.solver.continuation import fits_inputs, fitted_operator
from parallel_mcmc.solver.operators import Operator
from parallel_mcmc.solver.plain_loop import make_steps
from parallel_mcmc.solver.recurrence import Recurrence, Steps, margins_of
from parallel_mcmc.solver.scans import block_product

LONGEST_STRIDE = 4

LONGEST_STRIDE_ON_CPU = 8
"""In short windows on a CPU, for which the work of an iteration counts and not how many there are:
two unknown states are enough to keep it busy."""

SHORT_WINDOW = 256
"""Steps from which on a window counts as long. Errors that hardly shrink within a stride, as those
of a slow diffusion, take more iterations of a long window with strides of 8 than with 4."""

MOST_UNROLLED = 8
"""Steps of a stride that derivatives are taken of without a loop: what the derivative of a loop
needs goes through memory, which takes a CPU four times as long."""

FEWEST_UNKNOWNS_OF_WIDE_DEVICES = 1024
"""Unknown states that a stride leaves in a window on an accelerator, which makes thousands of steps
in the time of one. By the model of ``benchmarks/roofline.py``, with the short launches of an H200,
4,096 draws take 0.4 to 0.8 of the time with a stride of 4; 512 take from three quarters to six
fifths."""


def default_stride(length: int) -> int:
    """Return the stride for so many steps of a window on one device."""
    if jax.default_backend() != "cpu":
        return min(LONGEST_STRIDE, max(1, length // FEWEST_UNKNOWNS_OF_WIDE_DEVICES))
    if length >= SHORT_WINDOW:
        return LONGEST_STRIDE
    return min(LONGEST_STRIDE_ON_CPU, max(1, length // 2))


def largest_divisor(length: int, most: int) -> int:
    """Return the largest divisor of ``length`` that is at most ``most``.

    Examples
    --------
    >>> [largest_divisor(length, 8) for length in (64, 100, 7, 11)]
    [8, 5, 7, 1]
    """
    return next(size for size in range(min(most, length), 0, -1) if length % size == 0)


@pytree
@dataclasses.dataclass(frozen=True)
class Strided(Recurrence):
    """A recurrence whose input is a bundle of inputs, and whose step makes a step with each.

    It records the states that were passed, the last one included, and what their steps recorded,
    each with a leading axis S.
    """

    unrolled: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]] = dataclasses.field(kw_only=True)
    """The step without a loop, for derivatives."""

    @property
    def straight(self) -> Recurrence:
        """The recurrence with the unrolled step."""
        return Recurrence(self.unrolled, self.chart)

    def continues(self, inputs: PyTree, window: int, dim: int) -> bool:
        """Whether there are enough single steps to fit all that they depend on."""
        steps = _stride_of(inputs) * window
        return self.predict is None and fits_inputs(joined(inputs), steps, others=dim)

    def continued(
        self, operator: Operator, made: Steps, coming: PyTree, last: PyTree, reach: jax.Array
    ) -> PyTree:
        """Go on step by step, by a fit to the single steps: of these there is no Jacobian."""
        passed, records = made.aux
        before = jax.vmap(preceding)(made.arguments, passed)
        singles = Steps(*(joined(tree) for tree in (before, made.inputs, passed, records)))
        x, y = (jax.vmap(self.chart.coordinates)(s) for s in (singles.arguments, singles.values))
        fitted = fitted_operator(x, y, singles.inputs)
        path = super().continued(fitted, singles, joined(coming), last, reach)
        return _every(_stride_of(coming), path)

    def edge_contraction(self, contraction: jax.Array) -> jax.Array:
        """Return 1: the first step may keep an error that the whole stride forgets."""
        return jnp.ones_like(contraction)

    def modelled(
        self,
        model: Callable[..., jax.Array],
        states: PyTree,
        inputs: PyTree,
        values: PyTree,
        aux: PyTree,
    ) -> jax.Array:
        """Return the products of what ``model`` says of the single steps."""

        def product(state: PyTree, bundle: PyTree, aux: PyTree) -> jax.Array:
            passed, records = aux
            models = jax.vmap(model)(preceding(state, passed), bundle, passed, records)
            return _product(models)

        return jax.vmap(product)(states, inputs, aux)


def strided(recurrence: Recurrence, stride: int) -> Strided:
    """Return the recurrence of every ``stride``-th state."""
    bound = jax.tree_util.Partial
    return Strided(
        bound(make_steps, recurrence.step),
        recurrence.chart,
        recurrence.surrogate,
        None if recurrence.margin is None else bound(_margin, recurrence.margin),
        None if recurrence.predict is None else bound(_predict, recurrence),
        unrolled=bound(_unrolled, recurrence.step),
    )


# Module-level functions, so that two recurrences of one step compile to the same program.
def _unrolled(step: Callable, state: PyTree, bundle: PyTree) -> tuple[PyTree, PyTree]:
    return make_steps(step, state, bundle, MOST_UNROLLED)


def _margin(margin: Callable[[PyTree], jax.Array], aux: PyTree) -> jax.Array:
    passed, records = aux
    return jnp.min(margins_of(margin, records, num_steps(passed)))


def _predict(recurrence: Recurrence, state: PyTree, bundles: PyTree) -> PyTree:
    return _every(_stride_of(bundles), recurrence.guess(state, joined(bundles)))


def _stride_of(bundles: PyTree) -> int:
    return jax.tree.leaves(bundles)[0].shape[1]


def _every(stride: int, path: PyTree) -> PyTree:
    """Return the unknown states of all that are passed."""
    return at(path, slice(stride - 1, None, stride))


def _product(models: jax.Array) -> jax.Array:
    """Return the product of matrices ``(S, ...)``, the first applied first.

    As in :class:`~parallel_mcmc.Surrogate`: scalars, diagonals, matrices or blocks.
    """
    if models.ndim <= 2:
        return jnp.prod(models, axis=0)
    matmul = block_product if models.ndim == 4 else partial(jnp.matmul, precision="highest")

    def after(product: jax.Array, model: jax.Array) -> tuple[jax.Array, None]:
        return matmul(model[None], product[None])[0], None

    return jax.lax.scan(after, models[0], models[1:])[0]
