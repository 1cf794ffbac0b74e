"""NumPyro's structured mass matrices: blocks of sites."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from parallel_mcmc._tree import PyTree
from parallel_mcmc.kernels.metric import Metric, is_metric, metric
from parallel_mcmc.warmup import LowRank


@dataclasses.dataclass(frozen=True)
class Block:
    """Sites whose part of the mass matrix is dense, or diagonal."""

    names: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    """Of every site, where it stands in the flattened position: first entry and end."""
    dense: bool

    @property
    def index(self) -> np.ndarray:
        """Entries of the flattened position, site by site."""
        return np.concatenate([np.arange(*ends) for ends in self.ranges])


def require_structure(dense_mass: Any, inverse_mass_matrix: Any) -> None:
    """Raise if the arguments of a kernel cannot describe a mass matrix.

    Raises
    ------
    ValueError
        If ``dense_mass`` is neither a bool, a list of tuples of names nor a low rank, or a key of
        ``inverse_mass_matrix`` is no such tuple, or a matrix is not positive definite.
    """
    if not isinstance(dense_mass, bool | LowRank) and not (
        isinstance(dense_mass, list) and all(_is_names(names) for names in dense_mass)
    ):
        raise ValueError(
            "dense_mass must be True, False or a list of tuples of names of sites, such as "
            f"[('a', 'b')], or a LowRank, got {dense_mass!r}"
        )
    if not isinstance(inverse_mass_matrix, dict):
        metric(inverse_mass_matrix)
        return
    for names, matrix in inverse_mass_matrix.items():
        if not _is_names(names):
            raise ValueError(
                "inverse_mass_matrix must be an array, or a dict whose keys are tuples of names "
                f"of sites, got the key {names!r}"
            )
        try:
            metric(matrix)
        except ValueError as error:
            raise ValueError(f"inverse_mass_matrix[{names!r}]: {error}") from error


def choose_blocks(
    prototype: Mapping[str, Any],
    dense_mass: bool | Sequence[tuple[str, ...]],
    inverse_mass_matrix: Any,
) -> tuple[Block, ...]:
    """Return the blocks that NumPyro makes of the arguments of its HMC.

    Parameters
    ----------
    prototype
        Shapes of the unconstrained sites by name.
    dense_mass, inverse_mass_matrix
        As given to the kernel. Sites that neither names share a diagonal block.

    Raises
    ------
    ValueError
        If a site is not known, or is in two blocks.
    """
    if isinstance(dense_mass, bool):
        dense_mass = [tuple(sorted(prototype))] if dense_mass else []
    names = list(dense_mass)
    if isinstance(inverse_mass_matrix, dict):
        names += [block for block in inverse_mass_matrix if block not in dense_mass]
    given = [name for block in names for name in block]
    rest = tuple(sorted(set(prototype) - set(given)))
    names += [rest] if rest else []
    unknown = sorted(set(given) - set(prototype))
    if unknown or len(set(given)) < len(given):
        raise ValueError(
            "dense_mass and inverse_mass_matrix must name each site of "
            f"{sorted(prototype)} once at most, got the blocks {names}"
        )
    ranges, end = {}, 0
    for name in sorted(prototype):
        start, end = end, end + int(np.prod(prototype[name].shape))
        ranges[name] = (start, end)
    return tuple(
        Block(block, tuple(ranges[name] for name in block), block in dense_mass) for block in names
    )


def structure_of(blocks: Sequence[Block]) -> tuple[bool, np.ndarray | None]:
    """Return whether the metric is dense, and which of its entries may differ from 0, if not all.

    A dense metric has the memory of ``(D, D)`` however small its blocks are.
    """
    if not any(block.dense for block in blocks):
        return False, None
    if len(blocks) == 1:
        return True, None
    structure = np.eye(max(end for block in blocks for _, end in block.ranges), dtype=bool)
    for block in blocks:
        if block.dense:
            structure[np.ix_(block.index, block.index)] = True
    return True, structure


class Wanted(NamedTuple):
    """Where a warmup starts, and which metric it looks for."""

    given: Metric
    """The metric before the warmup."""
    blocks: tuple[Block, ...] | None
    """How NumPyro names its parts; None where the sites are not known."""
    dense: bool | LowRank
    structure: np.ndarray | None
    """Both as :func:`~parallel_mcmc.warmup.window_adaptation` takes them."""


def wanted_metric(
    prototype: Mapping[str, Any] | None, position: PyTree, matrix: Any, dense_mass: Any
) -> Wanted:
    """Return what a kernel's ``inverse_mass_matrix`` and ``dense_mass`` ask for.

    Parameters
    ----------
    prototype
        The unconstrained sites; None for a kernel of a ``potential_fn``.
    position
        Of one chain.
    """
    is_low_rank = isinstance(dense_mass, LowRank)
    if prototype is None:
        given = metric(matrix)
        if given.dim is None:
            vector = ravel_pytree(position)[0]
            matrix = jnp.broadcast_to(given.inverse_mass_matrix(), vector.shape)
            given = metric(matrix.astype(vector.dtype))
        return Wanted(given, None, dense_mass if is_low_rank else bool(dense_mass), None)
    if is_low_rank or is_metric(matrix):
        # To who asks for the matrix, a low rank is one dense block.
        blocks = choose_blocks(prototype, True if is_low_rank else dense_mass, None)
        dense, structure = (dense_mass, None) if is_low_rank else structure_of(blocks)
        given = matrix
        if not is_metric(matrix):
            given = first_metric(choose_blocks(prototype, False, matrix), matrix)
        return Wanted(given, blocks, dense, structure)
    blocks = choose_blocks(prototype, dense_mass, matrix)
    return Wanted(first_metric(blocks, matrix), blocks, *structure_of(blocks))


def first_metric(blocks: Sequence[Block], inverse_mass_matrix: Any) -> Metric:
    """Return the metric where the warmup starts: as given, and 1 where nothing is.

    Raises
    ------
    ValueError
        If a matrix has a wrong size.
    """
    dim = max(end for block in blocks for _, end in block.ranges)
    dense, structure = structure_of(blocks)
    if isinstance(inverse_mass_matrix, dict):
        matrix = jnp.eye(dim) if dense else jnp.ones(dim)
        for block in blocks:
            if block.names in inverse_mass_matrix:
                part = _part(block, inverse_mass_matrix[block.names])
                index = np.ix_(block.index, block.index) if dense else block.index
                matrix = matrix.at[index].set(jnp.diag(part) if dense and part.ndim == 1 else part)
        return metric(matrix)
    matrix = jnp.ones(dim) if inverse_mass_matrix is None else jnp.asarray(inverse_mass_matrix)
    if matrix.ndim == 0:
        matrix = jnp.full(dim, matrix)
    if matrix.shape not in ((dim,), (dim, dim)):
        raise ValueError(
            f"inverse_mass_matrix must have shape {(dim,)} or {(dim, dim)}, as the unconstrained "
            f"position has {dim} entries, got {matrix.shape}"
        )
    if matrix.ndim == 2 and not dense:
        matrix = jnp.diagonal(matrix)
    if matrix.ndim == 2 and structure is not None:
        matrix = jnp.where(structure, matrix, 0)
    return metric(matrix)


def _part(block: Block, matrix: Any) -> jax.Array:
    """Return the part of an inverse mass matrix that a dictionary gives for a block."""
    matrix, size = jnp.asarray(matrix), len(block.index)
    if matrix.shape not in ((size,), (size, size)):
        raise ValueError(
            f"inverse_mass_matrix of {block.names} must have shape {(size,)} or {(size, size)}, "
            f"got {matrix.shape}"
        )
    return jnp.diagonal(matrix) if matrix.ndim == 2 and not block.dense else matrix


def split_by_block(blocks: Sequence[Block], matrix: jax.Array) -> PyTree:
    """Return an inverse mass matrix, ``(D,)`` or ``(D, D)``, as NumPyro has it.

    A dictionary from the names of a block to its part, ``(n,)`` or if dense ``(n, n)``.
    """

    def part(block: Block) -> jax.Array:
        index = block.index
        if not block.dense:
            return matrix[index] if matrix.ndim == 1 else jnp.diagonal(matrix)[index]
        return jnp.diag(matrix[index]) if matrix.ndim == 1 else matrix[np.ix_(index, index)]

    return {block.names: part(block) for block in blocks}


def mass_matrix_sqrt(inverse_mass_matrix: jax.Array) -> jax.Array:
    """Return S with ``S S'`` the inverse of ``inverse_mass_matrix``, lower triangular if dense."""
    if inverse_mass_matrix.ndim == 1:
        return 1 / jnp.sqrt(inverse_mass_matrix)
    # With the rows and columns reversed, the factor's transpose is lower triangular once more.
    lower = jnp.linalg.cholesky(inverse_mass_matrix[::-1, ::-1])[::-1, ::-1].T
    eye = jnp.eye(len(lower), dtype=lower.dtype)
    return jax.scipy.linalg.solve_triangular(lower, eye, lower=True)


def _is_names(names: Any) -> bool:
    return isinstance(names, tuple) and all(isinstance(name, str) for name in names)
