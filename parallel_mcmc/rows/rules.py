"""Which primitives make a row of their result from one row of their operands, and which a sum.

A rule is given an equation, the axis of the rows in each input, None for one that has no rows, and
the number of rows. It tells the axis of the rows in the outputs and the equation's parameters for
fewer rows, or that the output is a sum over rows; None where it is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

from parallel_mcmc.rows.steps import Step

Axes = Sequence[int | None]


class ByRow(NamedTuple):
    """Every row of the outputs is made from one row of the inputs."""

    axes: tuple[int, ...]
    """The axis of the rows in each output."""
    params: Callable[[int], dict[str, Any]] | None = None
    """The parameters for so many rows, where they depend on that."""


class Total(NamedTuple):
    """The output is a sum over rows."""

    base: int | None = None
    """Number of the input that is added to, which has no rows."""


Outcome = ByRow | Total | None
Rule = Callable[[Step, Axes, int], Outcome]

ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp
    convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor
    ge gt igamma igamma_grad_a igammac imag integer_pow is_finite le lgamma log log1p logistic lt
    max min mul ne neg nextafter not or polygamma pow random_gamma_grad real reduce_precision
    regularized_incomplete_beta rem round rsqrt select_n sign sin sinh sqrt square stop_gradient sub
    tan tanh xor
""".split()


def elementwise(step: Step, axes: Axes, rows: int) -> Outcome:
    """Put numbers at the same place together; what is the same in every row goes with all."""
    found = {axis for axis in axes if axis is not None}
    if len(found) != 1:
        return None
    axis = found.pop()
    shapes = [v.aval.shape for v, own in zip(step.inputs, axes, strict=True) if own is None]
    if any(shape and shape[axis] != 1 for shape in shapes):
        return None
    return ByRow((axis,) * len(step.outputs))


def broadcast(step: Step, axes: Axes, rows: int) -> Outcome:
    """Keep the rows of an array; what has none may be the same in every row."""
    shape, places = step.params["shape"], step.params["broadcast_dimensions"]
    if len(axes) > 1:
        return None
    if axes[0] is not None:
        axis = places[axes[0]]
    else:
        old = dict(zip(places, step.inputs[0].aval.shape, strict=True))
        new = [i for i, size in enumerate(shape) if size == rows and old.get(i, 1) == 1]
        if len(new) != 1:
            return None
        axis = new[0]
    return ByRow((axis,), lambda n: step.params | {"shape": with_rows(shape, axis, n)})


def reshape(step: Step, axes: Axes, rows: int) -> Outcome:
    """Keep rows that as many numbers come before, and after."""
    axis, old, new = axes[0], step.inputs[0].aval.shape, step.params["new_sizes"]
    if axis is None or step.params["dimensions"] is not None:
        return None
    kept = [i for i, n in enumerate(new) if n == rows and prod(new[:i]) == prod(old[:axis])]
    if len(kept) != 1:
        return None
    return ByRow((kept[0],), lambda n: step.params | {"new_sizes": with_rows(new, kept[0], n)})


def squeeze(step: Step, axes: Axes, rows: int) -> Outcome:
    """Drop other axes."""
    return _without(step.params["dimensions"], axes)


def transpose(step: Step, axes: Axes, rows: int) -> Outcome:
    """Move the axis of the rows."""
    return None if axes[0] is None else ByRow((step.params["permutation"].index(axes[0]),))


def reduction(step: Step, axes: Axes, rows: int) -> Outcome:
    """Reduce each row by itself, over other axes."""
    return None if axes[0] in step.params["axes"] else _without(step.params["axes"], axes)


def reduce_sum(step: Step, axes: Axes, rows: int) -> Outcome:
    """Sum each row by itself, or all of them."""
    return Total() if axes[0] in step.params["axes"] else reduction(step, axes, rows)


def along(name: str) -> Rule:
    """Return the rule of primitives that work along one axis, called so."""

    def rule(step: Step, axes: Axes, rows: int) -> Outcome:
        if None in axes or len(set(axes)) > 1 or axes[0] == step.params[name]:
            return None
        assert axes[0] is not None
        return ByRow((axes[0],) * len(step.outputs))

    return rule


def slicing(step: Step, axes: Axes, rows: int) -> Outcome:
    """Take a slice that has all rows."""
    axis, limits, strides = axes[0], step.params["limit_indices"], step.params["strides"]
    if axis is None or limits[axis] - step.params["start_indices"][axis] != rows:
        return None
    if strides is not None and strides[axis] != 1:
        return None
    return ByRow((axis,), lambda n: step.params | {"limit_indices": with_rows(limits, axis, n)})


def dynamic_slice(step: Step, axes: Axes, rows: int) -> Outcome:
    """Take a slice that has all rows, wherever it begins: it is moved to fit."""
    axis, sizes = axes[0], step.params["slice_sizes"]
    if axis is None or any(a is not None for a in axes[1:]) or sizes[axis] != rows:
        return None
    return ByRow((axis,), lambda n: step.params | {"slice_sizes": with_rows(sizes, axis, n)})


def pad(step: Step, axes: Axes, rows: int) -> Outcome:
    """Pad along other axes, by one number."""
    axis = axes[0]
    if axis is None or axes[1] is not None or any(step.params["padding_config"][axis]):
        return None
    return ByRow((axis,))


def dot_general(step: Step, axes: Axes, rows: int) -> Outcome:
    """Multiply the rows of one factor, pairs of rows of both, or sum over the rows of both."""
    contracted, batched = step.params["dimension_numbers"]
    left, right = axes
    if left is not None and right is not None:
        if (left, right) in zip(*contracted, strict=True):
            return Total()
        pairs = list(zip(*batched, strict=True))
        return ByRow((pairs.index((left, right)),)) if (left, right) in pairs else None
    side = 0 if right is None else 1
    axis = axes[side]
    if axis is None or axis in contracted[side] or axis in batched[side]:
        return None
    # The result has the batch, what is left of the first factor, and of the second.
    taken = (*contracted[side], *batched[side])
    place = len(batched[0]) + len([i for i in range(axis) if i not in taken])
    if side == 1:
        place += len(step.inputs[0].aval.shape) - len(contracted[0]) - len(batched[0])
    return ByRow((place,))


def gather(step: Step, axes: Axes, rows: int) -> Outcome:
    """Look up rows of indices in what has no rows, or each in its own row."""
    numbers = step.params["dimension_numbers"]
    operand, indices = axes
    last = len(step.inputs[1].aval.shape) - 1
    if indices is None or indices == last or not _own_rows(numbers, operand, indices):
        return None
    out = len(step.outputs[0].aval.shape)
    batch = [i for i in range(out) if i not in numbers.offset_dims]
    return ByRow((batch[indices],))


def scatter_add(step: Step, axes: Axes, rows: int) -> Outcome:
    """Add rows of updates to what has no rows, or each to its own row."""
    numbers = step.params["dimension_numbers"]
    operand, indices, updates = axes
    shape = step.inputs[2].aval.shape
    batch = [i for i in range(len(shape)) if i not in numbers.update_window_dims]
    if indices is None or indices >= len(batch) or batch[indices] != updates:
        return None
    if not _own_rows(numbers, operand, indices):
        return None
    return Total(0) if operand is None else ByRow((operand,))


def _own_rows(numbers: Any, operand: int | None, indices: int) -> bool:
    """Whether the operand has no rows, or those of the indices."""
    batched = getattr(numbers, "start_indices_batching_dims", None)
    if batched is None:
        batched = numbers.scatter_indices_batching_dims
    pairs = zip(numbers.operand_batching_dims, batched, strict=True)
    if operand is None:
        return indices not in batched
    return (operand, indices) in [(int(a), int(b)) for a, b in pairs]


RULES: dict[str, Rule] = dict.fromkeys(ELEMENTWISE, elementwise) | {
    "argmax": reduction,
    "argmin": reduction,
    "broadcast_in_dim": broadcast,
    "concatenate": along("dimension"),
    "cumlogsumexp": along("axis"),
    "cummax": along("axis"),
    "cummin": along("axis"),
    "cumprod": along("axis"),
    "cumsum": along("axis"),
    "dot_general": dot_general,
    "dynamic_slice": dynamic_slice,
    "gather": gather,
    "pad": pad,
    "reduce_and": reduction,
    "reduce_max": reduction,
    "reduce_min": reduction,
    "reduce_or": reduction,
    "reduce_prod": reduction,
    "reduce_sum": reduce_sum,
    "reshape": reshape,
    "scatter-add": scatter_add,
    "slice": slicing,
    "sort": along("dimension"),
    "squeeze": squeeze,
    "transpose": transpose,
}


def rule_of(step: Step, axes: Axes, rows: int) -> Outcome:
    """Return how the rows of an equation's outputs come about.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from parallel_mcmc.rows.steps import steps_of
    >>> closed = jax.make_jaxpr(jnp.dot)(jnp.ones((5, 2)), jnp.ones(2))
    >>> rule_of(steps_of(closed.jaxpr).steps[-1], [0, None], 5)
    ByRow(axes=(0,), params=None)
    """
    rule = RULES.get(step.primitive.name)
    return None if rule is None else rule(step, axes, rows)


def with_rows(shape: Sequence[int], axis: int, rows: int) -> tuple[int, ...]:
    """Return a shape with another number of rows."""
    return (*shape[:axis], rows, *shape[axis + 1 :])


def _without(gone: Sequence[int], axes: Axes) -> Outcome:
    """Return where the rows are once those axes are gone."""
    axis = axes[0]
    if axis is None:
        return None
    return ByRow((axis - sum(i < axis for i in gone),))
