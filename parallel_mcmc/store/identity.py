"""What must agree for a run to go on as it began, in words that an error can show."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc
from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.chain import InLanes, Runner, Sequential
from parallel_mcmc.placement.base import Placement
from parallel_mcmc.solver import Newton
from parallel_mcmc.store.programs import program_digest

NEWTON = "newton"

SHOOTING = "shooting "
"""Before the number of lanes."""
"""Name of ``pmc.Newton()``, which ``solver="auto"`` may choose."""

SHOWN = 4
"""Entries of an array that are shown rather than hashed."""


def settings(name: str, value: Any) -> dict[str, str]:
    """Return the numbers and classes that an object, such as a kernel, is made of.

    Functions are left out: :func:`environment` has digests of what they compute.

    Examples
    --------
    >>> import parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda x: -(x**2).sum(), 0.5)
    >>> settings("kernel", kernel)["kernel.step_size"]
    'float32 0.5'
    """
    return dict(_settings(name, value))


def _settings(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        yield name, _array_text(np.asarray(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield name, type(value).__name__
        for field in dataclasses.fields(value):
            yield from _settings(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, jax.tree_util.Partial):
        yield from _settings(f"{name}.args", value.args)
        yield from _settings(f"{name}.keywords", value.keywords)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _settings(f"{name}[{key!r}]", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _settings(f"{name}[{index}]", item)
    elif not callable(value):
        yield name, re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _array_text(array: np.ndarray) -> str:
    if array.size <= SHOWN:
        return f"{array.dtype} {array.tolist()}"
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype} array of shape {array.shape}, sha256 {digest[:12]}…"


def run_settings(kernel: Any, runner: Any, placement: Placement) -> dict[str, str]:
    """Return what must be the same for the same chain: of kernel, solver, mesh and precision."""
    solver = settings("solver", runner)
    # The mesh tells of it.
    solver = {name: text for name, text in solver.items() if not name.startswith("solver.axis")}
    return settings("kernel", kernel) | solver | placement.settings() | precision()


def precision() -> dict[str, str]:
    """Return the settings of JAX that choose the numbers of a run."""
    return {
        "JAX's default precision": str(jnp.result_type(float)),
        "jax_threefry_partitionable": str(jax.config.jax_threefry_partitionable),  # pyright: ignore
    }


def solver_settings(runner: Runner) -> dict[str, Any]:
    """Return how a runner is made again: the solver's name, None for a method, and its window."""
    if isinstance(runner, Sequential):
        return {"solver": "sequential", "window": None}
    if isinstance(runner, InLanes):
        return {"solver": f"{SHOOTING}{runner.lanes}", "window": runner.window}
    name = "parallel" if runner.method is None else NEWTON if runner.method == Newton() else None
    return {"solver": name, "window": runner.window}


def environment(kernel: Any, position: PyTree, from_draw: int) -> dict[str, Any]:
    """Return what a part of a run was made with.

    Parameters
    ----------
    kernel
        A transition kernel.
    position
        Positions of all chains, or ``jax.ShapeDtypeStruct`` like them.
    from_draw
        Where the part begins.

    Returns
    -------
    dict
        Of JSON: versions and device, where draws may differ by rounding if these do; and digests
        of the programs, which can be compared only where the versions are the same.
    """
    versions = {
        "parallel_mcmc": parallel_mcmc.__version__,
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "device": f"{jax.default_backend()} {jax.devices()[0].device_kind}, {platform.machine()}",
    }
    return {"from_draw": from_draw, "versions": versions, "programs": _programs(kernel, position)}


def _programs(kernel: Any, positions: PyTree) -> dict[str, str]:
    """Return digests of the log density, and of a transition with all that it calls."""
    # Of shapes and dtypes alone: whether a number was once a Python number does not matter.
    kernel = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), kernel
    )
    position = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), positions
    )

    def transition(kernel: Any, position: PyTree, key: jax.Array) -> Any:
        state = kernel.init(position, key)
        return kernel.step(state, kernel.draw(key, position))

    found = {
        f"{name}logdensity_fn": program_digest(lambda f, q: f(q), fn, position)
        for name, fn in _log_densities("kernel.", kernel)
    }
    key = jax.random.key(0)
    return found | {"a transition": program_digest(transition, kernel, position, key)}


def _log_densities(name: str, kernel: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(kernel, "logdensity_fn"):
        yield name, kernel.logdensity_fn
    for index, part in enumerate(getattr(kernel, "kernels", ())):
        yield from _log_densities(f"{name}kernels[{index}].", part)
