import jax
import jax.numpy as jnp
import kernel_cases as cases
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels.leapfrog import Leapfrog


def quartic(x):
    return -0.5 * jnp.sum(x**2) - 0.05 * jnp.sum(x**4) - 0.05 * jnp.sum(x[1:] * x[:-1])


def kernels(**options):
    return [
        pmc.hmc(quartic, 0.1, None, 64, integrator=integrator)
        for integrator in (Leapfrog(), pmc.ParallelLeapfrog(**options))
    ]


def test_trajectory_is_the_sequential_one(x64):
    bound, chain = [], []
    for kernel in kernels():
        draw = kernel.draw(jax.random.key(0), jnp.ones(6))
        bound.append(draw)
        chain.append(kernel.step(kernel.init(jnp.linspace(-1, 1, 6)), draw))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), *chain)


def test_it_converges_before_the_budget(x64):
    kernel = kernels()[1]
    target = kernel.target(jnp.ones(6))
    start = target.evaluate(jnp.linspace(-1, 1, 6))
    momentum = jax.random.normal(jax.random.key(0), (6,))
    solution = kernel.integrator.solve(target.evaluate, start, momentum, jnp.array(0.1), 64)
    assert solution.converged
    assert solution.iterations <= 20
    assert solution.states.position.shape == (64, 6)


def test_a_budget_too_small_is_finished_by_the_loop(x64):
    plain, solved = (
        kernel.step(kernel.init(jnp.ones(6)), kernel.draw(jax.random.key(1), jnp.ones(6)))
        for kernel in kernels(max_iterations=2)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), plain, solved)


@pytest.mark.slow
def test_both_levels_at_once(x64):
    arguments = (jax.random.key(3), jnp.asarray(cases.MEAN), 32)
    plain, solved = (
        pmc.sample(
            arguments[0],
            pmc.hmc(cases.gaussian, 0.2, cases.covariance(), 16, integrator=integrator),
            *arguments[1:],
            solver=solver,
            window=16,
            progress_bar=False,
        ).position
        for integrator, solver in (
            (pmc.Leapfrog(), "sequential"),
            (pmc.ParallelLeapfrog(), "parallel"),
        )
    )
    np.testing.assert_allclose(solved, plain, atol=1e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match="max_iterations must be"):
        pmc.ParallelLeapfrog(max_iterations=0)
    with pytest.raises(ValueError, match="tolerance must be"):
        pmc.ParallelLeapfrog(tolerance=-1.0)
    kernel = pmc.hmc(quartic, 0.1, None, pmc.UniformSteps(1, 4), integrator=pmc.ParallelLeapfrog())
    with pytest.raises(TypeError, match="num_integration_steps must be a fixed integer"):
        kernel.step(kernel.init(jnp.ones(3)), kernel.draw(jax.random.key(0), jnp.ones(3)))
