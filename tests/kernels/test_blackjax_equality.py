import blackjax
import german_credit as german
import jax
import jax.numpy as jnp
import kernel_cases as cases
import numpy as np
import pytest
from packaging.version import Version

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel


@pytest.mark.parametrize(
    ("name", "model", "iterations"),
    [
        ("mala", pmc.Diagonal(), 13),
        pytest.param("mala", pmc.Surrogate(), 16, marks=pytest.mark.slow),
        ("hmc", pmc.Diagonal(), 8),
    ],
)
def test_german_credit(x64, name, model, iterations):
    logdensity, dim = german.whitened_posterior()
    if name == "mala":
        kernel, algorithm = pmc.mala(logdensity, 0.3), blackjax.mala(logdensity, 0.3)
    else:
        arguments = (logdensity, 0.3, jnp.ones(dim), 5)
        kernel, algorithm = pmc.hmc(*arguments), blackjax.hmc(*arguments)
    start = jnp.zeros(dim)
    keys = jax.random.split(jax.random.key(0), 1024)
    positions, _ = jax.jit(german.sequential, static_argnums=0)(algorithm, start, keys)
    runner = Parallel(pmc.Newton(model), 1024, tolerance=german.TOLERANCE)
    solution, _ = jax.jit(runner.solve)(kernel, kernel.init(start), keys)
    assert solution.converged
    assert solution.fallback_steps == 0
    assert solution.iterations <= iterations
    np.testing.assert_allclose(solution.states.position, positions, atol=1e-6)


COVARIANCE = np.array([[2.0, 0.5], [0.5, 1.0]])


def logdensity(x):
    v = jnp.concatenate([x["a"][None], x["b"]])
    return -0.5 * v @ np.linalg.inv(COVARIANCE) @ v


@pytest.mark.parametrize(
    ("metric", "solver"),
    [
        (COVARIANCE, "parallel"),
        pytest.param(np.diag(COVARIANCE), "parallel", marks=pytest.mark.slow),
        pytest.param(COVARIANCE, "sequential", marks=pytest.mark.slow),
        (np.diag(COVARIANCE), "sequential"),
    ],
)
def test_hmc_on_a_pytree(x64, metric, solver):
    start, key = {"a": jnp.array(1.0), "b": jnp.array([-1.0])}, jax.random.key(3)
    algorithm = blackjax.hmc(logdensity, 0.4, jnp.asarray(metric), 4)
    _, (states, info) = blackjax.util.run_inference_algorithm(
        key, algorithm, 300, initial_state=algorithm.init(start)
    )
    kernel = pmc.hmc(logdensity, 0.4, metric, 4)
    samples = pmc.sample(key, kernel, start, 300, solver=solver, progress_bar=False)
    for name in start:
        np.testing.assert_allclose(samples.position[name][0], states.position[name], atol=1e-6)
    np.testing.assert_array_equal(samples.info.is_accepted[0], info.is_accepted)


def nested(x):
    return {"a": x[:3], "b": x[3:].reshape(7, 1)}


def flat_logdensity(q):
    return cases.gaussian(jnp.concatenate([q["a"], q["b"].ravel()]))


def pairs():
    """Kernels of ours and BlackJAX's, by name."""
    f, sd = flat_logdensity, jnp.linspace(0.5, 2.0, 10)
    walk = blackjax.additive_step_random_walk.normal_random_walk
    factor = jnp.linalg.cholesky(cases.covariance())
    return {
        "rmh": (pmc.rmh(f, 0.4), walk(f, 0.4 * jnp.ones(10))),
        "rmh, diagonal": (pmc.rmh(f, 0.4, sd**2), walk(f, 0.4 * sd)),
        "rmh, dense": (pmc.rmh(f, 0.4, cases.covariance()), walk(f, 0.4 * factor)),
        "barker": (pmc.barker(f, 0.3), blackjax.barker_proposal(f, 0.3)),
        "adjusted mclmc": (
            pmc.adjusted_mclmc(f, 0.4, None, 3),
            blackjax.adjusted_mclmc(f, 0.4, num_integration_steps=3),
        ),
    }


FAST = ("rmh, dense", "barker")


@pytest.mark.parametrize(
    "name",
    [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in pairs()],
)
def test_gaussian(x64, name):
    if name == "barker" and Version(blackjax.__version__) < Version("1.6"):
        pytest.skip("older BlackJAX draws the signs of all leaves from one key")
    kernel, algorithm = pairs()[name]
    start, key = nested(jnp.asarray(cases.MEAN)), jax.random.key(5)
    _, (states, info) = blackjax.util.run_inference_algorithm(
        key, algorithm, 512, initial_state=algorithm.init(start)
    )
    samples = pmc.sample(key, kernel, start, 512, solver="sequential", progress_bar=False)
    np.testing.assert_array_equal(samples.info.is_accepted[0], info.is_accepted)
    np.testing.assert_allclose(samples.info.acceptance_rate[0], info.acceptance_rate, atol=1e-6)
    for leaf in start:
        np.testing.assert_allclose(samples.position[leaf][0], states.position[leaf], atol=1e-6)
    np.testing.assert_allclose(samples.logdensity[0], states.logdensity, atol=1e-6)


def test_mclmc(x64):
    scale = jnp.linspace(0.5, 2.0, 10)
    integrator = blackjax.mcmc.integrators.isokinetic_mclachlan(
        cases.gaussian, inverse_mass_matrix=scale**2
    )
    theirs = blackjax.mcmc.integrators.with_isokinetic_maruyama(integrator)
    kernel = pmc.mclmc(cases.gaussian, 2.0, 0.4, scale**2)
    state = kernel.init(jnp.asarray(cases.MEAN), jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 100)

    def step(state, key):
        # The step's key as in BlackJAX.
        after, kinetic = theirs(state, 0.4, 2.0, jax.random.split(key, 3)[0])
        return after, (after, kinetic - after.logdensity + state.logdensity)

    def ours(state, key):
        state, info = kernel.step(state, kernel.draw(key, state.position))
        return state, (state, info)

    start = blackjax.mcmc.integrators.IntegratorState(*state)
    expected, change = jax.lax.scan(step, start, keys)[1]
    states, info = jax.lax.scan(ours, state, keys)[1]
    np.testing.assert_allclose(states.position, expected.position, atol=1e-6)
    np.testing.assert_allclose(states.momentum, expected.momentum, atol=1e-6)
    np.testing.assert_allclose(info.energy_change, change, atol=1e-6)
    assert info.nonans.all()


def test_mclmc_restarts_where_it_is_not_finite(x64):
    def walled(x):
        return jnp.where(x[0] < 1, -0.5 * jnp.sum(x**2), jnp.nan)

    kernel = pmc.mclmc(walled, 2.0, 0.5)
    with pytest.warns(pmc.DivergenceWarning):
        samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(3), 400, progress_bar=False)
    stuck = ~samples.info.nonans[0]
    assert stuck.any() and not stuck.all()
    before = np.concatenate([np.zeros((1, 3)), samples.position[0][:-1]])
    np.testing.assert_array_equal(samples.position[0][stuck], before[stuck])
    assert np.isfinite(samples.position).all()
