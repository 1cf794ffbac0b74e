import jax.numpy as jnp
import numpy as np
import pytest
from solver_reference import T, problem, step

import parallel_mcmc as pmc


def test_verify_evaluates_every_edge(x64):
    start, inputs = problem(jnp.float64)
    solution = pmc.solve(step, start, inputs)
    edges = pmc.verify(solution)
    assert edges.shape == (T,)
    assert edges.max() < 1e-8
    broken = solution.states | {"x": solution.states["x"].at[17, 1].add(1e-3)}
    edges = pmc.verify(solution._replace(states=broken))
    np.testing.assert_array_equal(np.flatnonzero(edges > 1e-6), [17, 18])
    np.testing.assert_allclose(edges[17], 1e-3, rtol=1e-4)
    miscounted = solution.states | {"n": solution.states["n"].at[30].add(1)}
    edges = pmc.verify(solution._replace(states=miscounted))
    assert np.isinf(edges[30])


def test_verify_needs_a_solution_of_solve():
    with pytest.raises(TypeError, match="solution must be a Solution, got ndarray"):
        pmc.verify(np.zeros(3))
    solution = pmc.solve(lambda x, u: 0.5 * x + u, jnp.zeros(2), jnp.ones((5, 2)))
    with pytest.raises(ValueError, match=r"solution must come from pmc\.solve"):
        pmc.verify(solution._replace(problem=None))
