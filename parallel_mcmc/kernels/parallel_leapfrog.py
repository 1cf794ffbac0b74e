"""The leapfrog trajectory of one HMC transition, solved in parallel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from parallel_mcmc._errors import require_positive, require_positive_int
from parallel_mcmc._tree import STATIC, pytree
from parallel_mcmc.kernels.leapfrog import leapfrog_step
from parallel_mcmc.kernels.phase import FlatPhase, PhaseChart, with_momentum
from parallel_mcmc.kernels.whitened import Flat, apparent_centre
from parallel_mcmc.solver.defaults import default_tolerance
from parallel_mcmc.solver.jacobian import Surrogate
from parallel_mcmc.solver.method import Newton, require_newton
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.solution import Solution
from parallel_mcmc.solver.system import solve_recurrence


class _Evaluator(NamedTuple):
    """As much of a target as the chart asks for."""

    evaluate: Callable[[jax.Array], Flat]


@pytree
@dataclasses.dataclass(frozen=True)
class ParallelLeapfrog:
    """All leapfrog steps of a trajectory at once: block quasi-DEER.

    The iteration starts from the trajectory on the unit Gaussian that the first gradient points to,
    and models every step by that Gaussian's 2 x 2 matrix (arXiv 2508.18413, section 3.4). It pays
    for long trajectories in a metric that fits the posterior. The trajectory is that of
    :class:`Leapfrog` up to the tolerance; steps beyond the budget are made one by one.

    Parameters
    ----------
    method
        The parallel Newton method, for coordinates ``[position; momentum]``.
    max_iterations
        Iterations before the plain loop takes over.
    tolerance
        Largest residual, in posterior standard deviations; by default 1e-4 in float32 and 1e-9 in
        float64.

    Raises
    ------
    TypeError
        If ``method`` is no :class:`Newton`.
    ValueError
        If ``max_iterations`` or ``tolerance`` is not positive.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.hmc(
    ...     lambda x: -0.5 * jnp.sum(x**2), 0.1, None, 64, integrator=pmc.ParallelLeapfrog()
    ... )
    >>> state = kernel.init(jnp.ones(3))
    >>> state, info = kernel.step(state, kernel.draw(jax.random.key(0), state.position))
    >>> bool(info.is_accepted)
    True
    """

    method: Newton = Newton(Surrogate())
    max_iterations: int = dataclasses.field(default=128, metadata=STATIC)
    tolerance: float | None = None

    def __post_init__(self) -> None:
        require_newton("method", self.method)
        require_positive_int("max_iterations", self.max_iterations)
        if self.tolerance is not None:
            require_positive("tolerance", self.tolerance)

    def run(
        self,
        evaluate: Callable[[jax.Array], Flat],
        state: Flat,
        momentum: jax.Array,
        step_size: jax.Array,
        num_steps: jax.Array | int,
        longest: int,
    ) -> tuple[Flat, jax.Array]:
        """Return the state and the momentum after ``num_steps`` steps, of ``longest`` at most.

        All ``longest`` steps are solved, since the number of unknowns is fixed when it is compiled.
        """
        solution = self.solve(evaluate, state, momentum, step_size, longest)
        last = jax.tree.map(lambda leaf: leaf[num_steps - 1], solution.states)
        return last.flat, last.momentum

    def solve(
        self,
        evaluate: Callable[[jax.Array], Flat],
        state: Flat,
        momentum: jax.Array,
        step_size: jax.Array,
        num_steps: int,
    ) -> Solution:
        """Return the whole trajectory, states ``1 … num_steps``, and how it was found."""
        dtype = state.position.dtype

        def step(now: FlatPhase, _: Any) -> tuple[FlatPhase, tuple[()]]:
            return with_momentum(*leapfrog_step(evaluate, now.flat, now.momentum, step_size)), ()

        half = 1 - 0.5 * step_size**2
        skew = 1 - 0.25 * step_size**2
        matrix = jnp.array([[half, step_size], [-step_size * skew, half]], dtype)

        def predict(start: FlatPhase, steps: jax.Array) -> FlatPhase:
            # The powers of the matrix: rotations in skewed coordinates, if the step is stable.
            centre = apparent_centre(start)
            away = start.position - centre
            angle = (steps * jnp.arccos(jnp.clip(half, -1, 1)))[:, None]
            root = jnp.sqrt(jnp.maximum(skew, 1e-3))
            cos, sin = jnp.cos(angle), jnp.sin(angle)
            position = centre + cos * away + sin / root * start.momentum
            velocity = cos * start.momentum - sin * root * away
            return jax.vmap(lambda w, p: start._replace(position=w, momentum=p))(position, velocity)

        recurrence = Recurrence(
            step,
            PhaseChart(_Evaluator(evaluate)),
            lambda *_: matrix[:, :, None],
            predict=predict,
        )
        return solve_recurrence(
            recurrence,
            self.method,
            with_momentum(state, momentum),
            jnp.arange(1, num_steps + 1, dtype=dtype),
            window=num_steps,
            max_iterations=self.max_iterations,
            tolerance=default_tolerance(dtype) if self.tolerance is None else self.tolerance,
            scale=jnp.ones((), dtype),
        )[0]
