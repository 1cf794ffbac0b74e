"""Functions of data, arranged for a CPU: in blocks of rows, and with products in a good order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
from jax.custom_batching import custom_vmap
from jax.extend.core import jaxpr_as_fun

from parallel_mcmc._tree import PyTree, any_traced, signature
from parallel_mcmc.rows.plan import Plan, plan_of
from parallel_mcmc.rows.products import has_products, vectors_first

LARGEST_BATCH = 1024
"""Positions of a batch, at most, that are evaluated together: for how large the data must be."""

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


def _by_batch(
    plan: Plan, whole: Callable, count: int = 1, axes: tuple[Any, ...] = ()
) -> Callable[[list, list], list]:
    """Return the function in blocks, or whole where that does not pay for a batch.

    Parameters
    ----------
    count
        Positions of the batch.
    axes
        For each axis of the batch, which arguments have it; the innermost first.
    """
    pays = plan.pays(count) and not _all_rows_at_once.get()
    function = partial(plan.run, count) if pays else whole
    for in_axes in axes:
        function = jax.vmap(function, in_axes)
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def in_batch(axis_size: int, is_batched: list, data: list, leaves: list) -> tuple[list, Any]:
        in_axes = jax.tree.map(lambda batched: 0 if batched else None, tuple(is_batched))
        results = _by_batch(plan, whole, count * axis_size, (*axes, in_axes))(data, leaves)
        return results, [True] * len(results)

    return mapped


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
