"""Block-diagonal Jacobians for states of two halves, such as position and momentum.

Coordinates are ``[x; v]`` of shape ``(2 D,)``; every coordinate of the one half is coupled with the
same coordinate of the other by a 2 x 2 matrix, and with nothing else: block quasi-DEER
(arXiv 2508.18413, section 3.4).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_int, require_positive_int
from parallel_mcmc._tree import STATIC, pytree
from parallel_mcmc.solver.batches import for_each
from parallel_mcmc.solver.linearisation import (
    Linearisation,
    Product,
    linearised,
    sign_bits,
    signs_of,
)
from parallel_mcmc.solver.operators import BlockOperator


@pytree
@dataclasses.dataclass(frozen=True)
class BlockDiagonal:
    """``A_t`` has the 2 x 2 diagonal blocks of the Jacobian: block quasi-DEER.

    Parameters
    ----------
    probes
        Number of Hutchinson probes ``v = ±1`` for each half, redrawn every iteration.
    seed
        Seed of the probes.

    Raises
    ------
    ValueError
        If ``probes`` is not a positive integer or ``seed`` no integer; in ``solve``, if the state
        has no two halves.

    Examples
    --------
    >>> import jax.numpy as jnp, parallel_mcmc as pmc
    >>> def leapfrog(state, force):
    ...     x, v = state
    ...     v = v - 0.1 * jnp.sin(x) + force
    ...     return x + 0.1 * v, v
    >>> start = (jnp.ones(3), jnp.zeros(3))
    >>> method = pmc.Newton(pmc.BlockDiagonal())
    >>> bool(pmc.solve(leapfrog, start, jnp.zeros((50, 3)), method=method).converged)
    True
    """

    exact: ClassVar[bool] = False

    probes: int = dataclasses.field(default=1, metadata=STATIC)
    seed: int = dataclasses.field(default=0, metadata=STATIC)

    def __post_init__(self) -> None:
        require_positive_int("probes", self.probes)
        require_int("seed", self.seed)

    def evaluations(self, dim: int) -> int:
        """Return 1 and one for every Jacobian-vector product."""
        return 1 + 2 * self.probes

    def linearise(self, recurrence, states, inputs, iteration) -> Linearisation:
        """Evaluate the steps and their Jacobian-vector products."""
        x = jax.vmap(recurrence.chart.coordinates)(states)
        if x.shape[-1] % 2:
            raise ValueError(
                "method: BlockDiagonal() needs a state of two halves, such as position and "
                f"momentum, got {x.shape[-1]} coordinates"
            )
        key = jax.random.fold_in(jax.random.key(self.seed), iteration)
        bits = sign_bits(key, (len(x), self.probes), x.shape[-1] // 2)
        values, aux, blocks = linearised(recurrence, _blocks, states, inputs, bits)
        return Linearisation(values, aux, BlockOperator(blocks))


def _blocks(jvp: Product, x: jax.Array, bits: jax.Array) -> jax.Array:
    """Return the estimate of the four diagonals of a Jacobian, shape ``(2, 2, D / 2)``."""
    signs = signs_of(bits, len(x) // 2, x.dtype)

    def columns(sign: jax.Array) -> jax.Array:
        zero = jnp.zeros_like(sign)
        probes = jnp.stack([jnp.concatenate(p) for p in ((sign, zero), (zero, sign))])
        return for_each(jvp, probes).reshape(2, 2, -1) * sign

    # (column, row, D) -> (row, column, D)
    return jnp.mean(for_each(columns, signs), axis=0).swapaxes(0, 1)
