"""Functions of data, arranged for a CPU: in blocks of rows, and with products in a good order."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.extend.core import jaxpr_as_fun

from parallel_mcmc._tree import PyTree, any_traced, signature
from parallel_mcmc.rows.cut import plan_of
from parallel_mcmc.rows.plan import Plan
from parallel_mcmc.rows.products import has_products, vectors_first

LARGEST_BATCH = 1024
"""Positions of a batch, at most, that are evaluated together: for how large the data must be."""

LEAST_TOGETHER = 4
"""Positions of a batch from which on its axis is the last one within blocks of rows that come from
products; two or three are faster with it first, and so are functions of single columns."""

REMEMBERED = 256
"""Functions that are known to be left alone: a log density is evaluated in several places."""

_all_rows_at_once: ContextVar[bool] = ContextVar("all_rows_at_once", default=False)
_left_alone: OrderedDict[Hashable, None] = OrderedDict()


def arranged(function: Callable[[PyTree], PyTree]) -> Callable[[PyTree], PyTree]:
    """Return ``function``, with what it does with its data arranged as a CPU does it best.

    *Blocks of rows.* A log density reads the rows of its data to find their contributions, and
    again for the gradient; a batch of positions has intermediate values for all rows. Where all
    that is more than a CPU has in its caches it comes from memory each time. In blocks the data are
    read once, and what is made of a block is used while it is in the caches. The sums are the same,
    added in another order. Which operations are done for every row is read from the function's
    jaxpr; what is no sum over rows, or has few of them or data that are spread over several
    devices, is evaluated in one piece.

    *Order of factors.* Otherwise vectors are the first factors of their products with matrices: see
    :mod:`parallel_mcmc.rows.products`.

    Without either, and on an accelerator, the function is evaluated as it is. Derivatives of the
    result are those of the function in one piece.

    Parameters
    ----------
    function
        Of one pytree of arrays, to such a pytree: a log density, or its value with the gradient.
        The arrays it closes over are the data. It may be a pytree itself, such as
        :class:`jax.tree_util.Partial`: whether it is left alone is remembered for others like it.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> rows = jnp.ones((100_000, 20))
    >>> def logdensity(q):
    ...     return -0.5 * jnp.sum((rows @ q - 1) ** 2) / len(rows)
    >>> evaluate = arranged(jax.value_and_grad(logdensity))
    >>> value, gradient = evaluate(jnp.zeros(20))
    >>> bool(jnp.allclose(gradient, jax.grad(logdensity)(jnp.zeros(20))))
    True
    """

    def evaluate(argument: PyTree) -> PyTree:
        if jax.default_backend() != "cpu":
            return function(argument)
        question = signature(function, argument)
        if question in _left_alone:
            _left_alone.move_to_end(question)
            return function(argument)
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(argument)
        plan = _plan_of(closed)
        if plan is None and not has_products(closed):
            if not _hides_traced(function, closed.consts):
                _left_alone[question] = None
            if len(_left_alone) > REMEMBERED:
                _left_alone.popitem(last=False)
            return function(argument)

        # The data are arguments, since they may be traced, and differentiated by, as well.
        def whole(data: list, leaves: list) -> list:
            return jaxpr_as_fun(vectors_first(closed).replace(consts=data))(*leaves)

        way = whole if plan is None else _in_row_blocks(plan, whole)
        results = way(list(closed.consts), jax.tree.leaves(argument))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return evaluate


def _plan_of(closed: Any) -> Plan | None:
    plan = plan_of(closed)
    if plan is None or not plan.pays(LARGEST_BATCH) or _is_spread(closed, plan):
        return None
    return plan


def _in_row_blocks(plan: Plan, whole: Callable) -> Callable[[list, list], list]:
    blocked = jax.custom_jvp(_by_batch(plan, whole))
    blocked.defjvp(lambda primals, tangents: jax.jvp(whole, primals, tangents))
    return blocked


class _Axis(NamedTuple):
    """One axis of a batch."""

    size: int
    of_data: list[bool]
    """Which arrays of data have it."""
    of_leaves: list[bool]
    """Which leaves of the argument have it."""

    @property
    def places(self) -> tuple[list[int | None], list[int | None]]:
        """Where the arrays have it, as vmap is told."""
        where = [[0 if own else None for own in owners] for owners in self[1:]]
        return where[0], where[1]


def _by_batch(
    plan: Plan, whole: Callable, axes: tuple[_Axis, ...] = ()
) -> Callable[[list, list], list]:
    """Return the function in blocks, or whole where that does not pay for a batch.

    Parameters
    ----------
    axes
        Of the batch, the innermost first.
    """
    count = math.prod(axis.size for axis in axes)
    pays = plan.pays(count) and not _all_rows_at_once.get()
    is_wide = count >= LEAST_TOGETHER and not any(any(axis.of_data) for axis in axes)
    if pays and is_wide and plan.rows_are_products:
        function = partial(_together, plan, axes)
    else:
        function = partial(plan.run, count) if pays else whole
        for axis in axes:
            function = jax.vmap(function, axis.places)
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def in_batch(axis_size: int, is_batched: list, data: list, leaves: list) -> tuple[list, Any]:
        results = _by_batch(plan, whole, (*axes, _Axis(axis_size, *is_batched)))(data, leaves)
        return results, [True] * len(results)

    return mapped


def _together(plan: Plan, axes: tuple[_Axis, ...], data: list, leaves: list) -> list:
    """Return the function of all positions of a batch, whose axes are one meanwhile."""
    sizes = [axis.size for axis in axes[::-1]]
    count = math.prod(sizes)

    def flat(leaf: jax.Array, owns: tuple[bool, ...]) -> jax.Array:
        shape = leaf.shape[sum(owns) :]
        absent = [place for place, own in enumerate(owns) if not own]
        spread = jnp.broadcast_to(jnp.expand_dims(leaf, absent), (*sizes, *shape))
        return spread.reshape(count, *shape)

    owners = zip(*(axis.of_leaves for axis in axes[::-1]), strict=True)
    results = plan.run_together(count, data, list(map(flat, leaves, owners)))
    return [result.reshape(*sizes, *result.shape[1:]) for result in results]


def _hides_traced(function: Callable, constants: Sequence[Any]) -> bool:
    """Whether a function closes over traced values that are no leaves of it.

    To remember it would keep them, and all that they come from, beyond their trace.
    """
    own = set(map(id, jax.tree.leaves(function)))
    return any_traced([array for array in constants if id(array) not in own])


def _is_spread(closed: Any, plan: Plan) -> bool:
    """Whether data are in parts on different devices, each of which has its own blocks."""
    data = [*closed.consts, *(value.constant for value in plan.axes)]
    arrays = [array for array in data if isinstance(array, jax.Array) and not any_traced(array)]
    return not all(array.sharding.is_fully_replicated for array in arrays)


@contextmanager
def all_rows_at_once() -> Iterator[None]:
    """Within it no function is traced in blocks, for what is counted in its program."""
    token = _all_rows_at_once.set(True)
    try:
        yield
    finally:
        _all_rows_at_once.reset(token)
