"""What every kernel promises."""

import jax
import jax.numpy as jnp
import kernel_cases as cases
import numpy as np
import pytest
from jaxprs import precisions

import parallel_mcmc as pmc
from parallel_mcmc.choice.measure import run_chain
from parallel_mcmc.choice.runner import choose_runner

TARGETS = {"gaussian": cases.gaussian_cases, "schools": cases.schools_cases}
ADJUSTED = ["rmh", "mala", "hmc", "jittered hmc", "adjusted mclmc", "barker", "cycle", "gibbs"]
# One kernel of each way to be solved.
FAST = ("hmc", "rmh")


def test_every_kernel_is_here():
    for build in TARGETS.values():
        assert sorted(build()) == sorted(cases.NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases.NAMES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
def test_parallel_is_sequential(x64, target, name):
    kernel, start = TARGETS[target]()[name]
    arguments = (jax.random.key(0), kernel, start, 512)
    plain = pmc.sample(*arguments, solver="sequential", progress_bar=False)
    solved = pmc.sample(*arguments, solver="parallel", window=512, progress_bar=False)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        (solved.position, solved.info),
        (plain.position, plain.info),
    )
    assert solved.stats.fallback_steps[0] == 0


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in cases.NAMES]
)
def test_window_slides(x64, name):
    kernel, start = cases.gaussian_cases()[name]
    arguments = (jax.random.key(1), kernel, start, 40)
    plain = pmc.sample(*arguments, solver="sequential", progress_bar=False)
    solved = pmc.sample(*arguments, solver="parallel", window=8, progress_bar=False)
    np.testing.assert_allclose(solved.position, plain.position, atol=1e-6)
    assert solved.stats.fallback_steps == 0


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in cases.NAMES]
)
def test_lanes_meet(x64, name):
    kernel, start = cases.gaussian_cases()[name]
    starts = jnp.stack([start, start + 0.5])
    arguments = (jax.random.key(1), kernel, starts, 600)
    settings = {"num_chains": 2, "progress_bar": False}
    plain = pmc.sample(*arguments, solver="sequential", **settings)
    solved = pmc.sample(*arguments, solver=pmc.Shooting(4), **settings)
    np.testing.assert_allclose(solved.position, plain.position, atol=1e-6)
    assert solved.stats.fallback_steps.tolist() == [0, 0]
    assert (solved.stats.residual <= 1e-9).all()


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
@pytest.mark.parametrize("name", cases.NAMES)
def test_products_of_matrices_keep_all_digits(x64, name, solver):
    kernel, start = cases.gaussian_cases()[name]

    def chain(start, keys):
        state = kernel.init(start, keys[0])
        return run_chain(choose_runner(solver, 4, 8), kernel, state, keys)

    keys = jax.random.split(jax.random.key(0), 8)
    assert precisions(chain, start, keys) == {str((jax.lax.Precision.HIGHEST,) * 2)}


@pytest.mark.parametrize("name", ["rmh", "mclmc", "gibbs", "cycle"])
def test_driver_is_a_loop_over_step(x64, name):
    kernel, start = cases.gaussian_cases()[name]
    samples = pmc.sample(jax.random.key(2), kernel, start, 5, progress_bar=False)

    def step(state, key):
        state, info = kernel.step(state, kernel.draw(key, start))
        return state, (state.position, info)

    state = kernel.init(start, jax.random.fold_in(jax.random.key(2), np.uint32(2**32 - 1)))
    state, (positions, info) = jax.lax.scan(step, state, jax.random.split(jax.random.key(2), 5))
    np.testing.assert_allclose(samples.position[0], positions, rtol=1e-9)
    assert type(samples.final_state) is type(state)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-7, atol=1e-9), samples.info, info
    )


def moments(kernel, start, mean, covariance, draws=4000, chains=16):
    """Return z-scores of the means and covariances, by the standard errors of chain averages."""
    keys = jax.random.split(jax.random.key(3), 2)
    factor = np.linalg.cholesky(covariance)
    starts = mean + jax.random.normal(keys[0], (chains, *start.shape)) @ factor.T
    samples = pmc.sample(
        keys[1], kernel, starts, draws, num_chains=chains, solver="sequential", progress_bar=False
    )
    d = samples.position - mean
    scores = []
    for values, truth in (
        (d, np.zeros(len(mean))),
        (d[..., :, None] * d[..., None, :], covariance),
    ):
        averages = values.mean(1)
        error = averages.std(0, ddof=1) / np.sqrt(chains)
        scores.append((averages.mean(0) - truth) / error)
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("name", ADJUSTED)
def test_law(x64, name):
    kernel, start = cases.gaussian_cases()[name]
    for scores in moments(kernel, start, cases.MEAN, cases.covariance()):
        assert np.abs(scores).max() < 4


def stationary(matrix, noise):
    """Return the covariance that solves ``S = A S A' + N N'``."""
    dim = len(matrix)
    system = np.eye(dim * dim) - np.kron(matrix, matrix)
    return np.linalg.solve(system, (noise @ noise.T).ravel()).reshape(dim, dim)


@pytest.mark.slow
def test_bias_of_ula(x64):
    # Unwhitened, so that every direction has a bias of its own.
    precision = np.linalg.inv(cases.covariance())
    step = 0.15
    biased = stationary(np.eye(10) - step * precision, np.sqrt(2 * step) * np.eye(10))
    assert np.abs(biased / cases.covariance() - 1).max() > 0.05
    kernel = pmc.ula(cases.gaussian, step)
    for scores in moments(kernel, jnp.asarray(cases.MEAN), cases.MEAN, biased):
        assert np.abs(scores).max() < 4


def baoab(precision, step, friction):
    """Return matrix and noise of a BAOAB step on a Gaussian, for position and momentum."""
    dim, eye = len(precision), np.eye(len(precision))
    zero, decay = np.zeros((dim, dim)), np.exp(-friction * step)
    kick = np.block([[eye, zero], [-0.5 * step * precision, eye]])
    drift = np.block([[eye, 0.5 * step * eye], [zero, eye]])
    after = kick @ drift
    noise = after @ np.block([[zero], [np.sqrt(1 - decay**2) * eye]])
    return after @ np.block([[eye, zero], [zero, decay * eye]]) @ drift @ kick, noise


@pytest.mark.slow
def test_bias_of_underdamped_langevin(x64):
    matrix, noise = baoab(np.linalg.inv(cases.covariance()), 0.4, 1.0)
    law = stationary(matrix, noise)
    # None in the positions, some in the momenta.
    np.testing.assert_allclose(law[:10, :10], cases.covariance(), rtol=1e-9)
    assert np.abs(np.diag(law)[10:] - 1).max() > 0.1
    kernel = pmc.underdamped_langevin(cases.gaussian, 0.4)
    for scores in moments(kernel, jnp.asarray(cases.MEAN), cases.MEAN, law[:10, :10]):
        assert np.abs(scores).max() < 4


def test_one_step_of_underdamped_langevin(x64):
    precision = np.linalg.inv(cases.covariance())
    matrix, noise = baoab(precision, 0.4, 0.7)
    kernel = pmc.underdamped_langevin(cases.gaussian, 0.4, 0.7)
    state = kernel.init(jnp.ones(10), jax.random.key(0))
    draw = kernel.draw(jax.random.key(1), state.position)
    after, _ = kernel.step(state, draw)
    before = np.concatenate([state.position - cases.MEAN, state.momentum])
    expected = matrix @ before + noise @ draw
    actual = np.concatenate([after.position - cases.MEAN, after.momentum])
    np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.slow
def test_bias_of_mclmc_vanishes_with_the_step(x64):
    def largest(step_size, draws):
        kernel = pmc.mclmc(cases.gaussian, 3.0, step_size, cases.covariance())
        start = jnp.asarray(cases.MEAN)
        scores = moments(kernel, start, cases.MEAN, cases.covariance(), draws=draws)
        return [np.abs(score).max() for score in scores]

    assert max(largest(0.3, 8000)) < 4
    # The means have none, by symmetry; a long step shows in the covariances.
    mean, covariance = largest(3.0, 4000)
    assert mean < 4 < covariance


@pytest.mark.parametrize("name", ["mala", "ula", "hmc", "jittered hmc", "underdamped"])
def test_surrogate_is_the_jacobian_on_a_unit_gaussian(x64, name):
    kernel = cases.metric_kernels(lambda x: -0.5 * jnp.sum(x**2), np.ones(10))[name]
    start = jnp.ones(10)
    bound = kernel.bind(start)
    recurrence = bound.recurrence
    for key in jax.random.split(jax.random.key(4), 3):
        state = bound.enter(kernel.init(start, key))
        draw = bound.draw(key)
        after, info = recurrence.step(state, draw)
        x = recurrence.chart.coordinates(state)
        jacobian = jax.jacobian(lambda x: recurrence.lifted_step(x, state, draw)[0])(x)  # noqa: B023
        model = recurrence.surrogate(state, draw, after, info)
        if model.ndim == 3:
            model = np.kron(model[..., 0], np.eye(10))
        else:
            model = model * np.eye(10)
        np.testing.assert_allclose(jacobian, model, atol=1e-10)


@pytest.mark.parametrize("name", ["mala", "ula", "hmc", "jittered hmc", "underdamped"])
def test_prediction_is_the_chain_on_a_unit_gaussian(x64, name):
    kernel = cases.metric_kernels(lambda x: -0.5 * jnp.sum(x**2), np.ones(10))[name]
    bound = kernel.bind(jnp.ones(10))
    state = bound.enter(kernel.init(jnp.ones(10), jax.random.key(5)))
    draws = jax.vmap(bound.draw)(jax.random.split(jax.random.key(6), 24))
    if hasattr(draws, "uniform"):
        # Every third decision is one that an energy error of any size turns into a rejection.
        draws = draws._replace(uniform=jnp.where(jnp.arange(24) % 3 == 0, 1 - 1e-12, 0.0))
    expected, accepted = [], []
    for t in range(24):
        state, info = bound.recurrence.step(state, jax.tree.map(lambda leaf: leaf[t], draws))  # noqa: B023
        expected.append(bound.recurrence.chart.coordinates(state))
        accepted.append(getattr(info, "is_accepted", True))
    assert any(accepted) and (all(accepted) != hasattr(draws, "uniform"))
    start = bound.enter(kernel.init(jnp.ones(10), jax.random.key(5)))
    guess = jax.vmap(bound.recurrence.chart.coordinates)(bound.recurrence.predict(start, draws))
    np.testing.assert_allclose(guess, np.stack(expected), atol=1e-10)


@pytest.mark.parametrize("name", ["mala", "hmc"])
def test_an_imitation_is_the_chain_on_a_unit_gaussian_with_all_its_decisions(x64, name):
    kernel = {
        "mala": pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.4),
        "hmc": pmc.hmc(lambda x: -0.5 * jnp.sum(x**2), 1.5, np.ones(100), 2),
    }[name]
    bound = kernel.bind(jnp.ones(100))
    start = bound.enter(kernel.init(jnp.ones(100)))
    draws = jax.vmap(bound.draw)(jax.random.split(jax.random.key(6), 128))

    def body(state, draw):
        state, info = bound.recurrence.step(state, draw)
        return state, (state, info)

    path, info = jax.lax.scan(body, start, draws)[1]
    assert 0.2 < info.is_accepted.mean() < 0.8
    guess = kernel.imitate(start, draws)
    np.testing.assert_allclose(guess.position, path.position, atol=1e-10)


def test_prediction_stays_near_where_a_gradient_is_huge(x64):
    kernel = pmc.hmc(cases.schools, 0.3, np.ones(10), 4)
    # A large log tau: the gradient there has a length of 1e8.
    wild = jnp.zeros(10).at[1].set(9.0).at[2:].set(3.0)
    bound = kernel.bind(wild)
    state = bound.enter(kernel.init(wild))
    assert jnp.linalg.norm(state.logdensity_grad) > 1e6
    draws = jax.vmap(bound.draw)(jax.random.split(jax.random.key(6), 24))
    guess = bound.recurrence.predict(state, draws).position
    # Around the centre, which is three standard deviations off in root mean square.
    assert jnp.abs(guess - wild).max() < 3 * np.sqrt(10) + 6


@pytest.mark.parametrize(
    "precision", ["x64", pytest.param(None, marks=pytest.mark.slow)], ids=["double", "single"]
)
def test_a_sliding_window_keeps_up_on_the_eight_schools(precision, request):
    if precision:
        request.getfixturevalue(precision)
    kernel = pmc.hmc(cases.schools, 0.25, np.array([20.0, 1.2] + [0.9] * 8), 8)
    start = jnp.zeros(10).at[:2].set(jnp.array([4.4, 1.0]))
    arguments = (jax.random.key(0), kernel, start, 1024)
    samples = pmc.sample(*arguments, solver=pmc.Newton(), window=128, progress_bar=False)
    assert samples.stats.fallback_steps == 0
    assert samples.stats.iterations < 200
