"""Recognising BlackJAX's MALA and HMC, and reading the settings that their steps close over.

A BlackJAX algorithm is a pair of closures. Its step is taken for that of ``blackjax.hmc`` only if
it runs the very same code with the same integrator, proposal and threshold as a reference made by
the installed ``blackjax.hmc``, and if a step of ours agrees with one of theirs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc.metrics import default_metric

from parallel_mcmc._tree import PyTree, any_traced
from parallel_mcmc.kernels import Kernel, hmc, mala


class Recognised(NamedTuple):
    """A kernel of ours that takes the steps of an algorithm."""

    kernel: Kernel
    traced: bool
    """Whether numbers that a step needs are traced, those in closures included."""


def recognised(algorithm: Any, state: PyTree, key: jax.Array) -> Recognised | None:
    """Return our kernel for ``algorithm``, or None if there is none that takes the same steps.

    Parameters
    ----------
    algorithm
        A ``blackjax.SamplingAlgorithm``.
    state
        A state of it.
    key
        A key, for the step that is compared.
    """
    if not _one_float_dtype(state):
        return None
    # What is known must stay known inside a traced function.
    with jax.ensure_compile_time_eval():
        for name in OURS:
            kernel = _kernel(name, algorithm.step)
            if kernel and (found := _if_same(name, algorithm.step, kernel, state, key)):
                return found
    return None


def _if_same(
    name: str, step: Callable, kernel: Kernel, state: PyTree, key: jax.Array
) -> Recognised | None:
    """Return the kernel if its step is the same."""
    traced = any_traced(state, key, kernel)
    both = functools.partial(both_steps, step)
    try:
        theirs, ours = (
            jax.eval_shape(both, kernel, state, key) if traced else both(kernel, state, key)
        )
    except ValueError:
        # A metric of another size than the position.
        return None
    if not _alike_in_shape(theirs, ours):
        return None
    # A log density may close over what is traced.
    traced = traced or any_traced(theirs, ours)
    # What is traced cannot be looked at: compare on a problem of our own.
    same = _known_to_agree(name) if traced else _agree(theirs, ours)
    return Recognised(kernel, traced) if same else None


def _kernel(name: str, step: Callable) -> Kernel | None:
    """Return our kernel with the settings of ``step``, if that is a step of ``blackjax.name``."""
    settings = _settings(step, _reference(name).step)
    if settings is None:
        return None
    try:
        return OURS[name](settings)
    except (TypeError, ValueError):
        # Settings that BlackJAX takes and our kernels do not.
        return None


def _mala(settings: Mapping[str, Any]) -> Kernel:
    return mala(settings["logdensity_fn"], settings["step_size"])


def _hmc(settings: Mapping[str, Any]) -> Kernel:
    metric = settings["inverse_mass_matrix"]
    if hasattr(metric, "kinetic_energy"):
        metric = _euclidean(metric)
    if callable(metric) or np.ndim(metric) not in (1, 2):
        raise ValueError("inverse_mass_matrix must be an array of one or two dimensions")
    steps = settings["num_integration_steps"]
    steps = steps if any_traced(steps) else int(steps)
    return hmc(settings["logdensity_fn"], settings["step_size"], metric, steps)


OURS: dict[str, Callable[[Mapping[str, Any]], Kernel]] = {"mala": _mala, "hmc": _hmc}


def _euclidean(metric: Any) -> Any:
    """Return the array that a BlackJAX Euclidean metric was made of."""
    matrix = _cells(metric.kinetic_energy).get("inverse_mass_matrix")
    reference = default_metric(jnp.ones(1))
    if matrix is None or not _same_code(metric.kinetic_energy, reference.kinetic_energy):
        raise ValueError("inverse_mass_matrix must be an array of one or two dimensions")
    return matrix


def _gaussian(position: jax.Array) -> jax.Array:
    return -0.5 * jnp.sum(position**2)


def _reference(name: str) -> Any:
    """Return an algorithm of the installed BlackJAX, with its default options."""
    return _reference_in(name, jnp.result_type(float))


@functools.cache
def _reference_in(name: str, dtype: Any) -> Any:
    if name == "mala":
        return blackjax.mala(_gaussian, 0.3)
    return blackjax.hmc(_gaussian, 0.3, jnp.array([0.5, 2.0], dtype), 2)


def _settings(step: Callable, reference: Callable) -> dict[str, Any] | None:
    """Return the arguments that ``step`` was made of, by name; None if it is another algorithm."""
    cells, expected = _cells(step), _cells(reference)
    if not _same_code(step, reference) or cells.keys() != expected.keys():
        return None
    if not _alike(cells["kernel"], expected["kernel"]):
        return None
    # Newer versions keep the arguments together, in the order of the kernel's signature.
    names = list(inspect.signature(cells["kernel"]).parameters)[3:]
    return cells | dict(zip(names, cells.pop("kernel_args", ()), strict=False))


def _cells(function: Any) -> dict[str, Any]:
    """Return the variables that a Python function closes over."""
    if not isinstance(function, FunctionType):
        return {}
    values = function.__closure__ or ()
    return dict(
        zip(function.__code__.co_freevars, (cell.cell_contents for cell in values), strict=True)
    )


def _same_code(a: Any, b: Any) -> bool:
    both = isinstance(a, FunctionType) and isinstance(b, FunctionType)
    return both and a.__code__ is b.__code__


def _alike(a: Any, b: Any) -> bool:
    """Whether two values do the same: one object, equal numbers, or like closures of one code."""
    if a is b:
        return True
    if _same_code(a, b):
        ours, theirs = _cells(a), _cells(b)
        return all(_alike(ours[name], theirs[name]) for name in ours)
    return isinstance(a, int | float | str) and isinstance(b, int | float | str) and a == b


def _one_float_dtype(state: PyTree) -> bool:
    """Whether all of the state has one floating dtype, as our kernels keep it."""
    dtypes = {jnp.result_type(leaf) for leaf in jax.tree.leaves(state)}
    return len(dtypes) == 1 and jnp.issubdtype(dtypes.pop(), jnp.floating)


@functools.cache
def _known_to_agree(name: str) -> bool:
    """Whether a step of ours agrees with one of the installed BlackJAX on a small problem."""
    algorithm = _reference(name)
    kernel = _kernel(name, algorithm.step)
    state = algorithm.init(jnp.array([1.0, -0.5]))
    return kernel is not None and _agree(
        *both_steps(algorithm.step, kernel, state, jax.random.key(0))
    )


def _agree(theirs: tuple, ours: tuple) -> bool:
    """Whether two steps, each a state and an info, are equal up to rounding."""
    (their_state, their_info), (our_state, our_info) = theirs, ours
    known = [name for name in our_info._fields if name in their_info._fields]
    pairs = zip(
        jax.tree.leaves((tuple(our_state), [getattr(our_info, name) for name in known])),
        jax.tree.leaves((tuple(their_state), [getattr(their_info, name) for name in known])),
        strict=True,
    )
    rounding = float(jnp.finfo(their_state.logdensity.dtype).eps) ** 0.5
    return all(np.allclose(a, b, rtol=rounding, atol=rounding, equal_nan=True) for a, b in pairs)


def _alike_in_shape(theirs: tuple, ours: tuple) -> bool:
    """Whether two steps, each a state and an info, lead to states of one shape and dtype."""
    shapes = [
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tuple(state))
        for state, _ in (theirs, ours)
    ]
    return shapes[0] == shapes[1]


@functools.partial(jax.jit, static_argnums=0)
def both_steps(step: Callable, kernel: Kernel, state: PyTree, key: jax.Array) -> Any:
    """Return a step of theirs and one of ours, each a state and an info."""
    bound = kernel.bind(state.position)
    flat, info = bound.recurrence.step(bound.enter(state), bound.draw(key))
    return step(key, state), (bound.leave(flat), info)
