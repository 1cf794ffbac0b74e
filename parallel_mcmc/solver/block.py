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
from parallel_mcmc.solver.jacobian import Linearisation, random_signs
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
        """Evaluate the steps and their Jacobian-vector products in one batch."""
        x = jax.vmap(recurrence.chart.coordinates)(states)
        if x.shape[-1] % 2:
            raise ValueError(
                "method: BlockDiagonal() needs a state of two halves, such as position and "
                f"momentum, got {x.shape[-1]} coordinates"
            )

        def batch(x):
            return recurrence.lifted_steps(x, states, inputs)

        _, jvp, (values, aux) = jax.linearize(batch, x, has_aux=True)
        half = x.shape[-1] // 2
        key = jax.random.fold_in(jax.random.key(self.seed), iteration)
        signs = random_signs(key, (self.probes, len(x), half), x.dtype)

        def columns(sign: jax.Array) -> jax.Array:
            zero = jnp.zeros_like(sign)
            probes = jnp.stack([jnp.concatenate(p, -1) for p in ((sign, zero), (zero, sign))])
            images = for_each(jvp, probes).reshape(2, len(x), 2, half)
            return images * sign[None, :, None]

        # (probe, column, time, row, D) -> (time, row, column, D)
        blocks = jnp.mean(for_each(columns, signs), axis=0).transpose(1, 2, 0, 3)
        return Linearisation(values, aux, BlockOperator(blocks))
