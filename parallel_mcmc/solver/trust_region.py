"""Trust regions: how the linear recurrence of an iteration is solved.

Without one the recurrence is solved exactly, by the operator's own scan. A trust region keeps the
whole correction short instead, at two to three times the cost of that scan.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax

from parallel_mcmc._errors import require_positive
from parallel_mcmc._tree import pytree
from parallel_mcmc.solver.operators import Operator


class TrustRegion(Protocol):
    """How to solve ``z_t = A_t z_{t-1} + b_t`` where the ``A_t`` are not to be trusted far."""

    def solve(self, operator: Operator, b: jax.Array) -> jax.Array:
        """Return the correction, shape ``(T, D)``, all in units of the state's scale."""
        ...


@pytree
@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt:
    """A penalty on the length of the correction: ELK, quasi-ELK (arXiv 2407.19115).

    The correction minimises ``Σ |z_t - A_t z_{t-1} - b_t|² + weight Σ |z_t|²`` over the window.

    Parameters
    ----------
    weight
        The penalty λ, in units of the state's scale. A small one gives Newton's step, a large one
        a short step along the residual.

    Raises
    ------
    ValueError
        If ``weight`` is not positive and finite.

    Examples
    --------
    >>> import parallel_mcmc as pmc
    >>> method = pmc.Newton(pmc.Dense(), trust_region=pmc.LevenbergMarquardt(0.1))
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        require_positive("weight", self.weight)

    def solve(self, operator: Operator, b: jax.Array) -> jax.Array:
        """Run the Kalman smoother of the operator's family."""
        return operator.smooth(b, self.weight)
