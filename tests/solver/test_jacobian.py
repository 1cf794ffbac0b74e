import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.solver.recurrence import plain_recurrence

MATRIX = jnp.array([[0.5, 0.2, 0.0], [-0.1, 0.3, 0.4], [0.0, 0.1, -0.2]])


def step(x, u):
    return jnp.tanh(MATRIX @ x) + u


STATES, INPUTS = jax.random.normal(jax.random.key(0), (2, 20, 3))
JACOBIANS = jax.vmap(jax.jacfwd(step))(STATES, INPUTS)


def linearise(model, iteration=0):
    return model.linearise(plain_recurrence(step), STATES, INPUTS, jnp.array(iteration))


@pytest.mark.parametrize(
    ("model", "evaluations"),
    [
        (pmc.Zero(), 1),
        (pmc.Identity(), 1),
        (pmc.Diagonal(), 3),
        (pmc.Diagonal(sweeps=0), 2),
        (pmc.Diagonal(None, sweeps=2), 6),
        (pmc.Dense(), 4),
        (pmc.Surrogate(lambda x, u, y: 0.5), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_model_returns_the_values(model, evaluations):
    if isinstance(model, pmc.Surrogate):
        model = pmc.Surrogate(lambda x, u, y: jnp.asarray(0.5))
    np.testing.assert_allclose(
        linearise(model).states, jax.vmap(step)(STATES, INPUTS), rtol=1e-5, atol=1e-6
    )
    assert model.evaluations(3) == evaluations


def test_dense_is_the_jacobian():
    np.testing.assert_allclose(linearise(pmc.Dense()).operator.matrix, JACOBIANS, atol=1e-6)


def linear(x, u):
    return jnp.asarray(MATRIX, x.dtype) @ x + u


def test_exact_diagonal():
    expected = np.diagonal(JACOBIANS, axis1=1, axis2=2)
    operator = linearise(pmc.Diagonal(None)).operator
    np.testing.assert_allclose(operator.diagonal, expected, atol=1e-6)


def test_probes_are_unbiased_and_redrawn():
    model = pmc.Diagonal(2)
    draws = jnp.stack([linearise(model, i).operator.diagonal for i in range(2)])
    assert not np.allclose(*draws)
    diagonal = jax.jit(lambda i: linearise(pmc.Diagonal(2000), i).operator.diagonal)(3)
    expected = np.diagonal(JACOBIANS, axis1=1, axis2=2)
    # A probe's standard deviation is at most the norm of the row's other entries, about 0.42.
    np.testing.assert_allclose(diagonal, expected, atol=5 * 0.42 / np.sqrt(2000))


@pytest.mark.parametrize(("every", "kept"), [(1, []), (2, [0, 2]), (3, [0, 1]), (None, [0, 1, 2])])
def test_probes_are_kept_for_as_many_iterations_as_said(every, kept):
    model = pmc.Diagonal(1, redraw_every=every)
    draws = [linearise(model, i).operator.diagonal for i in range(4)]
    assert [i for i in range(3) if np.array_equal(draws[i], draws[i + 1])] == kept


def test_fixed_probes_find_the_chain(x64):
    inputs = jax.random.normal(jax.random.key(1), (200, 3))
    method = pmc.Newton(pmc.Diagonal(2, redraw_every=None))
    found = pmc.solve(linear, jnp.zeros(3), inputs, method=method, scale=10.0)
    states = jax.lax.scan(lambda x, u: (linear(x, u),) * 2, jnp.zeros(3), inputs)[1]
    assert bool(found.converged)
    np.testing.assert_allclose(found.states, states, atol=1e-6)


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_bad_redraws(every):
    with pytest.raises(ValueError, match="redraw_every must be a positive integer, got"):
        pmc.Diagonal(redraw_every=every)


@pytest.mark.parametrize("value", [0.5, jnp.full(3, 0.5), 0.5 * jnp.eye(3)], ids=jnp.ndim)
def test_surrogates_of_every_shape(value):
    operator = linearise(pmc.Surrogate(lambda x, u, y: jnp.asarray(value))).operator
    np.testing.assert_allclose(operator.apply(STATES), 0.5 * STATES, rtol=1e-6)


@pytest.mark.slow
def test_sweeps_approach_newtons_method(x64):
    inputs = jax.random.normal(jax.random.key(1), (200, 3))
    methods = [pmc.quasi_deer(None, sweeps=sweeps) for sweeps in (0, 1, 3)] + [pmc.deer()]
    solutions = [pmc.solve(linear, jnp.zeros(3), inputs, method=m, scale=10.0) for m in methods]
    states = jax.lax.scan(lambda x, u: (linear(x, u),) * 2, jnp.zeros(3), inputs)[1]
    for solution in solutions:
        np.testing.assert_allclose(solution.states, states, atol=1e-6)
    counts = [int(solution.iterations) for solution in solutions]
    assert counts[0] > counts[1] > counts[2] >= counts[3]


@pytest.mark.parametrize("sweeps", [-1, 0.5, "1"])
def test_bad_sweeps(sweeps):
    with pytest.raises(ValueError, match="sweeps must be a non-negative integer"):
        pmc.Diagonal(sweeps=sweeps)


@pytest.mark.parametrize("probes", [0, -1, 1.5, "1"])
def test_bad_probes(probes):
    with pytest.raises(ValueError, match=r"probes must be None \(exact\) or a positive integer"):
        pmc.Diagonal(probes)
