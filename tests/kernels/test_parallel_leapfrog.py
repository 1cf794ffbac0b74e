import jax
import jax.numpy as jnp
import kernel_cases as cases
import kernels as benchmark
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels.leapfrog import Leapfrog, leapfrog_step


def quartic(x):
    return -0.5 * jnp.sum(x**2) - 0.05 * jnp.sum(x**4) - 0.05 * jnp.sum(x[1:] * x[:-1])


def kernels(steps=64, **options):
    return [
        pmc.hmc(quartic, 0.1, None, steps, integrator=integrator)
        for integrator in (Leapfrog(), pmc.ParallelLeapfrog(**options))
    ]


@pytest.mark.parametrize("steps", [64, pmc.UniformSteps(3, 24)])
def test_trajectory_is_the_sequential_one(x64, steps):
    chain = []
    for kernel in kernels(steps):
        draw = kernel.draw(jax.random.key(0), jnp.ones(6))
        chain.append(kernel.step(kernel.init(jnp.linspace(-1, 1, 6)), draw))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), *chain)
    # A drawn length is not one of the ends by chance.
    assert chain[0][1].num_integration_steps not in (3, 24)


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


@pytest.mark.slow
def test_item_response(x64):
    """The trajectory of the benchmark: 500 dimensions, 512 steps."""
    logdensity, mode, covariance = benchmark.item_response()
    kernel = pmc.hmc(logdensity, 0.02, covariance, 512)
    target, step_size = kernel.target(mode), jnp.array(0.02)
    keys = jax.random.split(jax.random.key(0))
    w = kernel.metric.whiten(mode) + jax.random.normal(keys[0], mode.shape)
    momentum = jax.random.normal(keys[1], mode.shape)

    @jax.jit
    def both(w, momentum):
        start = target.evaluate(w)

        def step(now, _):
            now = leapfrog_step(target.evaluate, *now, step_size)
            return now, now[0].position

        solution = pmc.ParallelLeapfrog().solve(target.evaluate, start, momentum, step_size, 512)
        return solution, jax.lax.scan(step, (start, momentum), length=512)[1]

    solution, plain = both(w, momentum)
    assert mode.shape == (500,)
    assert solution.converged and solution.fallback_steps == 0
    assert solution.iterations <= 40
    error = np.linalg.norm(solution.states.position - plain, axis=1)
    assert (error <= 1e-5 * np.linalg.norm(plain, axis=1)).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="max_iterations must be"):
        pmc.ParallelLeapfrog(max_iterations=0)
    with pytest.raises(ValueError, match="tolerance must be"):
        pmc.ParallelLeapfrog(tolerance=-1.0)
