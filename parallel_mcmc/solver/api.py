"""``solve``: all states of a recurrence at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from parallel_mcmc._errors import (
    require_arrays,
    require_callable,
    require_not_negative,
    require_positive,
    require_positive_int,
    warn_fallback,
)
from parallel_mcmc._tree import PyTree, any_traced, at
from parallel_mcmc.solver.chart import is_real
from parallel_mcmc.solver.defaults import (
    LARGEST_DEFAULT_WINDOW,
    default_max_iterations,
    default_tolerance,
)
from parallel_mcmc.solver.implicit import differentiable
from parallel_mcmc.solver.lyapunov import BATCHES, estimate_exponent
from parallel_mcmc.solver.mesh import (
    placed_along,
    require_spreadable,
    require_time_mesh,
    solve_over_mesh,
)
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import (
    checked_state,
    checked_states,
    common_length,
    plain_recurrence,
    require_fitting,
)
from parallel_mcmc.solver.shooting import (
    Shooting,
    default_max_rounds,
    require_method,
    shoot_in_windows,
)
from parallel_mcmc.solver.solution import Problem, Solution
from parallel_mcmc.solver.system import solve_recurrence
from parallel_mcmc.solver.trial import fastest, trial_length, windows_to_try

DEFAULT_METHOD = Newton()


def solve(
    step: Callable[[PyTree, PyTree], PyTree],
    initial_state: PyTree,
    inputs: PyTree,
    *,
    method: Newton | Shooting | None = None,
    window: int | None = None,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    initial_guess: PyTree | None = None,
    scale: PyTree | None = None,
    mesh: Mesh | None = None,
) -> Solution:
    """Find ``s_t = step(s_{t-1}, inputs_t)`` for all t at once by a parallel Newton method.

    The result is what ``jax.lax.scan`` over ``step`` gives, up to the tolerance. Steps that the
    iteration does not reach within its budget are computed by the plain loop, with a warning, so
    the states are right in any case.

    Parameters
    ----------
    step
        The recurrence, ``step(state, input) -> state``. Compiled once per function object and
        shapes: pass the same function again rather than a new lambda, and bind data that changes
        by ``jax.tree_util.Partial``.
    initial_state
        ``s_0``: a pytree with at least one floating-point leaf.
    inputs
        Pytree whose leaves have a common leading axis T: the inputs of steps 1 … T.
    method
        A parallel Newton method, ``Newton()`` by default, or :class:`Shooting`.
    window
        Number of steps iterated on together; the window slides along the chain. Memory grows with
        it. By default all T, at most 4,096; from 2^20 steps on, outside of jit, 256 or 16,384 if a
        trial of the first steps shows that to be clearly faster. By shooting windows follow one
        another; by default there is one.
    tolerance
        Largest residual of an accepted step, in units of ``scale`` and beyond rounding. By default
        1e-4 in float32 and 1e-9 in float64. With 0 the iteration goes on to the floating-point
        fixed point: every state has the bits that the iteration computes from the state before.
        Where errors shrink slowly that takes many iterations more.
    max_iterations
        Newton iterations, over all windows, before the plain loop takes over. By default
        128, and ``T / 2`` more if the window slides. By shooting: rounds of a window, by default a
        quarter of the lanes and one more, at least five.
    initial_guess
        Guess of ``s_1 … s_T``, leading axis T; by default the state stays where it is, and in a
        window that slides goes on by the last linearisation.
    scale
        Typical size of the state's components: a pytree like ``initial_state`` or a number. By
        default it is observed along the iterates.
    mesh
        Devices with an axis named ``"time"`` to spread the steps of a window over, in blocks of
        one length. Windows then do not slide, but follow one another; by default there is one,
        the whole chain. Best if it is, and the devices divide T: the states then stay where they
        were found. Under ``jax.vmap(..., spmd_axis_name="chain")`` chains
        are spread over another axis of it. By default one device has all steps.

    Returns
    -------
    Solution
        The states and how they were found. The states are differentiable in ``initial_state``,
        ``inputs`` and data bound to ``step``, by the implicit function theorem: exactly, and not
        through the iteration.

    Raises
    ------
    TypeError
        If ``step`` is not callable, ``method`` is neither a :class:`Newton` nor a
        :class:`Shooting`, or ``mesh`` is no mesh.
    ValueError
        If an argument has a wrong shape, dtype or value; the message names it. With ``mesh``, also
        if it has no axis ``"time"``, or ``method`` shoots or has a trust region.

    Warns
    -----
    SequentialFallbackWarning
        If the plain loop had to finish the chain.

    References
    ----------
    Gonzalez, arXiv 2603.16850, chapter 2; Lim et al., arXiv 2309.12252.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> def step(x, u):
    ...     return 0.5 * jnp.sin(x) + u
    >>> inputs = jax.random.normal(jax.random.key(0), (1000, 3))
    >>> solution = pmc.solve(step, jnp.zeros(3), inputs, method=pmc.quasi_deer())
    >>> bool(solution.converged), solution.states.shape
    (True, (1000, 3))

    The same chain, over all devices there are:

    >>> mesh = jax.make_mesh((jax.device_count(),), ("time",))
    >>> spread = pmc.solve(step, jnp.zeros(3), inputs, mesh=mesh)
    >>> bool(jnp.allclose(spread.states, solution.states, atol=1e-3))
    True

    To the last bit:

    >>> exact = pmc.solve(step, jnp.zeros(3), inputs, tolerance=0)
    >>> bool(exact.converged), float(exact.residual)
    (True, 0.0)
    """
    require_callable("step", step)
    method = DEFAULT_METHOD if method is None else require_method("method", method)
    shoots = isinstance(method, Shooting)
    inputs = require_arrays("inputs", inputs)
    total = common_length("inputs", inputs)
    if mesh is not None:
        mesh = require_time_mesh("mesh", mesh)
        inputs = placed_along(mesh, inputs)
    initial_state = checked_state(initial_state)
    real = [leaf for leaf in jax.tree.leaves(initial_state) if is_real(leaf)]
    if initial_guess is not None:
        initial_guess = checked_states("initial_guess", initial_guess, initial_state, total)
        if mesh is not None:
            initial_guess = placed_along(mesh, initial_guess)
    if mesh is not None:
        require_spreadable(method)
    if tolerance is None:
        tolerance = default_tolerance(jnp.result_type(*real))
    tolerance = require_not_negative("tolerance", tolerance)
    recurrence = plain_recurrence(step)
    problem = recurrence, initial_state, inputs, initial_guess
    settings = {"method": method, "scale": _scale_vector(scale, initial_state), "mesh": mesh}
    if window is None:
        if mesh is not None or shoots:
            window = total
        else:
            window = _window_by_trial(*problem, total=total, tolerance=tolerance, **settings)
    window = min(require_positive_int("window", window), total)
    if max_iterations is None:
        max_iterations = (
            default_max_rounds(method.lanes) if shoots else default_max_iterations(total, window)
        )
    max_iterations = require_positive_int("max_iterations", max_iterations)
    budget = {"window": window, "max_iterations": max_iterations}
    solution, summary = _solve(*problem, tolerance=tolerance, **budget, **settings)
    if not any_traced(summary):
        steps, iterations, growth = jax.device_get(summary)
        exponent = None
        if steps == total and iterations == 0:
            # That of the first steps, by which the recurrence was seen to be chaotic.
            exponent = float(growth)
        elif steps > 0 and growth > 0 and total >= BATCHES:
            exponent = float(
                estimate_exponent(recurrence, initial_state, inputs, solution.states).exponent
            )
        warn_fallback(int(steps), total, int(iterations), exponent)
    return solution._replace(problem=Problem(recurrence, initial_state, inputs))


def _window_by_trial(
    recurrence, initial_state, inputs, initial_guess, *, total, tolerance, **settings
) -> int:
    """Return the default window, or of a long chain the one that solves its first steps fastest."""
    default = min(total, LARGEST_DEFAULT_WINDOW)
    steps = trial_length(total)
    problem = recurrence, initial_state, inputs, initial_guess
    if not steps or any_traced(problem, tolerance, settings["scale"]):
        return default
    first = at((inputs, initial_guess), slice(steps))

    def run(window: int, quick: bool) -> Solution:
        # Whatever the first iteration finds is within an infinite tolerance.
        return _solve(
            recurrence,
            initial_state,
            *first,
            window=window,
            max_iterations=default_max_iterations(steps, window),
            tolerance=tolerance + (math.inf if quick else 0.0),
            **settings,
        )[0]

    return fastest(run, windows_to_try(default, steps))


@partial(jax.jit, static_argnames=("window", "max_iterations", "mesh"))
def _solve(
    recurrence, initial_state, inputs, initial_guess, *, window, max_iterations, mesh, **settings
) -> tuple[Solution, jax.Array]:
    require_fitting(recurrence, initial_state, inputs)
    settings["initial_guess"] = initial_guess
    budget = {"window": window, "max_iterations": max_iterations}

    def run(recurrence, initial_state, inputs, settings):
        if mesh is not None:
            arguments = recurrence, initial_state, inputs, settings
            return solve_over_mesh(mesh, *arguments, **budget)
        if isinstance(settings["method"], Shooting):
            return _shot(recurrence, initial_state, inputs, **budget, **settings)
        return solve_recurrence(
            recurrence, initial_state=initial_state, inputs=inputs, **budget, **settings
        )[0]

    solution = differentiable(run, recurrence, initial_state, inputs, settings)
    # What a warning needs, in one array: each one fetched takes tens of microseconds.
    parts = solution.fallback_steps, solution.iterations, solution.growth
    return solution, jnp.stack([part.astype(jnp.result_type(float)) for part in parts])


def _shot(
    recurrence, initial_state, inputs, *, method, window, max_iterations, initial_guess, **settings
) -> Solution:
    """Solve a single chain by shooting."""
    chains = jax.tree.map(lambda leaf: leaf[None], (initial_state, inputs, initial_guess))
    solution, _ = shoot_in_windows(
        recurrence,
        *chains[:2],
        window=window,
        lanes=method.lanes,
        max_rounds=max_iterations,
        initial_guess=chains[2],
        **settings,
    )
    return jax.tree.map(lambda leaf: leaf[0], solution)


def _scale_vector(scale: PyTree | None, state: PyTree) -> jax.Array | None:
    """Return ``scale`` in the coordinates of the Euclidean chart."""
    if scale is None:
        return None
    scale = require_arrays("scale", scale)
    if jax.tree.structure(scale) != jax.tree.structure(state):
        value = require_positive("scale", scale)
        scale = jax.tree.map(lambda leaf: jnp.full(leaf.shape, value), state)
    pairs = zip(jax.tree.leaves(scale), jax.tree.leaves(state), strict=True)
    pairs = [(s, leaf) for s, leaf in pairs if is_real(leaf)]
    if any(s.shape not in ((), leaf.shape) for s, leaf in pairs):
        raise ValueError(
            "scale must be a number, or like initial_state, whose leaves have shapes "
            f"{[leaf.shape for _, leaf in pairs]}, got shapes {[s.shape for s, _ in pairs]}"
        )
    sizes = [jnp.broadcast_to(s.astype(leaf.dtype), leaf.shape).ravel() for s, leaf in pairs]
    vector = jnp.concatenate(sizes)
    if not any_traced(vector) and not bool(jnp.all(vector > 0) & jnp.isfinite(vector).all()):
        raise ValueError(f"scale must be positive and finite, got {scale!r}")
    return vector
