import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels import LowRankMetric, metric
from parallel_mcmc.kernels.base import DensityState, GradientState
from parallel_mcmc.numpyro import HMC, MCMC
from parallel_mcmc.warmup import LowRank, window_adaptation

DIM = 200
VARIANCES = np.array([1e4, 2e3, 400.0, 0.002])


def strong_directions():
    """A covariance of 200 dimensions: other scales, three wide directions, and a narrow one."""
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(size=DIM))
    vectors = np.linalg.qr(rng.normal(size=(DIM, len(VARIANCES))))[0]
    inner = np.eye(DIM) + vectors @ np.diag(VARIANCES - 1) @ vectors.T
    return scale[:, None] * inner * scale, scale, vectors


def gaussian(covariance):
    precision = jnp.asarray(np.linalg.inv(covariance))
    return lambda x: -0.5 * jnp.dot(x, precision @ x)


def condition(found, covariance):
    """Condition number of the covariance in the coordinates of a metric."""
    whiten = jax.vmap(found.whiten)
    half = whiten(jnp.asarray(np.linalg.cholesky(covariance)).T)
    values = np.linalg.eigvalsh(np.asarray(half.T @ half))
    return values.max() / values.min()


def ess(draws):
    """Effective sample sizes of ``(chains, draws, quantities)``."""
    return np.array([az.ess(column) for column in np.moveaxis(draws, -1, 0)], float)


@pytest.mark.slow
def test_few_strong_directions_in_many_dimensions(x64):
    covariance, scale, _ = strong_directions()
    # Short of a turn: after a whole one, a draw is where it was.
    kernel = pmc.hmc(gaussian(covariance), 0.1, None, 4)
    start = jnp.asarray(np.random.default_rng(1).normal(size=(4, DIM)) * scale)
    worst, conditions = {}, {}
    for name, dense in {"diagonal": False, "low rank": LowRank(6)}.items():
        warmup = window_adaptation(jax.random.key(0), kernel, start, 600, num_chains=4, dense=dense)
        conditions[name] = condition(warmup.kernel.metric, covariance)
        samples = pmc.sample(
            jax.random.key(1), warmup.kernel, warmup.position, 500, num_chains=4, progress_bar=False
        )
        # Along the principal axes at the ends, and in between.
        axes = np.linalg.eigh(covariance)[1][:, [0, 1, DIM // 2, -3, -2, -1]]
        worst[name] = ess(samples.position @ axes).min()
    assert conditions["low rank"] < 10 < 1e6 < conditions["diagonal"]
    assert worst["low rank"] > 10 * worst["diagonal"]
    # The draws are right: second moments along the axes, within their errors.
    squares = (samples.position @ axes) ** 2
    truth = np.diag(axes.T @ covariance @ axes)
    error = squares.std((0, 1)) / np.sqrt(ess(squares))
    assert (np.abs(squares.mean((0, 1)) - truth) < 5 * error).all()


def states_of(positions, gradients):
    """States of ``(chains, steps, D)`` positions, as a warmup gathers them."""
    return GradientState(positions, jnp.zeros(positions.shape[:2]), gradients)


def renew(estimator, states, window_steps=None, pieces=1):
    """Gather states in some pieces, and return the metric."""
    chains, steps, dim = states.position.shape
    one = jax.tree.map(lambda leaf: leaf[:, 0], states)
    old = estimator.first(metric(jnp.ones(dim)), dim, states.position.dtype)
    gathered = estimator.nothing(one, dim, states.position.dtype)
    for index in np.array_split(np.arange(steps), pieces):
        piece = jax.tree.map(lambda leaf, index=index: leaf[:, index], states)
        counts = jnp.ones((chains, len(index)), bool)
        gathered = estimator.gathered(gathered, piece, counts, window_steps or steps)
    return gathered, estimator.renewed(old, gathered, jnp.array(True))


def test_covariance_of_a_gaussian_from_few_states(x64):
    """With gradients fewer states than dimensions will do: what is left is the diagonal's noise."""
    rng = np.random.default_rng(2)
    vectors = np.linalg.qr(rng.normal(size=(40, 2)))[0]
    covariance = np.eye(40) + vectors @ np.diag([500.0, -0.99]) @ vectors.T
    positions = rng.normal(size=(2, 15, 40)) @ np.linalg.cholesky(covariance).T + 3.0
    gradients = -(positions - 3.0) @ np.linalg.inv(covariance)
    states = states_of(jnp.asarray(positions), jnp.asarray(gradients))
    gathered, found = renew(LowRank(2), states)
    assert gathered.rows.sum() == 30 < 40
    assert condition(found, covariance) < 50 < 1e4 < condition(metric(jnp.ones(40)), covariance)


def test_states_are_kept_evenly_whatever_the_pieces(x64):
    positions = jnp.asarray(np.random.default_rng(4).normal(size=(2, 100, 3))) * jnp.arange(1.0, 4)
    states = states_of(positions, -positions / jnp.arange(1.0, 4) ** 2)
    whole, found = renew(LowRank(2, most_kept=21), states)
    pieces, again = renew(LowRank(2, most_kept=21), states, pieces=7)
    # Ten steps fit, so every tenth is kept.
    np.testing.assert_array_equal(whole.positions[:20:2], positions[0, ::10])
    np.testing.assert_array_equal(whole.positions[1:20:2], positions[1, ::10])
    assert whole.rows.sum() == 20 and whole.steps == 100
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-9), pieces, whole
    )
    np.testing.assert_allclose(
        again.inverse_mass_matrix(), found.inverse_mass_matrix(), rtol=1e-6, atol=1e-6
    )


def test_without_gradients_the_wide_directions_are_found(x64):
    rng = np.random.default_rng(3)
    direction = np.full((30, 1), 30**-0.5)
    covariance = np.eye(30) + 300 * direction * direction.T
    positions = jnp.asarray(rng.normal(size=(4, 100, 30)) @ np.linalg.cholesky(covariance).T)
    _, found = renew(LowRank(1), DensityState(positions, jnp.zeros((4, 100))))
    assert condition(found, covariance) < 20 < 300 < condition(metric(jnp.ones(30)), covariance)


@pytest.mark.parametrize("given", [None, jnp.array([4.0, 9.0, 1.0]), jnp.diag(jnp.arange(1.0, 4))])
def test_first_metric_has_the_variances_of_the_given_one(given):
    matrix = np.eye(3) if given is None else np.diag(given) if given.ndim == 1 else given
    found = LowRank(2).first(metric(given), 3, jnp.float32)
    np.testing.assert_allclose(found.inverse_mass_matrix(), matrix, rtol=1e-6)
    assert found.vectors.shape == (3, 2)
    # One of its own kind is kept, and another rank is no obstacle.
    assert LowRank(2).first(found, 3, jnp.float32).vectors.shape == (3, 2)
    other = LowRank(10).first(found, 3, jnp.float32)
    np.testing.assert_allclose(other.variances(), np.diag(matrix), rtol=1e-6)


def test_what_gives_no_metric_leaves_the_old_one():
    positions = jnp.full((1, 1, 3), 2.0)
    _, found = renew(LowRank(2), states_of(positions, -positions))
    np.testing.assert_array_equal(found.inverse_mass_matrix(), np.eye(3))


@pytest.mark.slow
def test_numpyro_kernels_take_it():
    def potential(x):
        return 0.5 * jnp.sum((x - 0.9 * x.mean()) ** 2)

    mcmc = MCMC(
        HMC(potential_fn=potential, dense_mass=LowRank(2)),
        num_warmup=40,
        num_samples=20,
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), init_params=jnp.ones(6))
    tuned = mcmc.warmup_result.kernel.metric
    assert isinstance(tuned, LowRankMetric) and tuned.vectors.shape == (6, 2)
    assert mcmc.last_state.adapt_state.inverse_mass_matrix.shape == (6, 6)


def test_a_numpyro_model_starts_from_a_given_one():
    import numpyro
    import numpyro.distributions as dist

    def model():
        numpyro.sample("a", dist.Normal(0, 1).expand([3]).to_event(1))
        numpyro.sample("b", dist.Normal(0, 1))

    given = LowRankMetric(jnp.full(4, 2.0), jnp.eye(4, 1), jnp.array([3.0]))
    kernel = HMC(
        model, inverse_mass_matrix=given, dense_mass=LowRank(1), num_steps=2, step_size=0.1
    )
    mcmc = MCMC(kernel, num_warmup=0, num_samples=5, progress_bar=False)
    mcmc.run(jax.random.key(0))
    shown = mcmc.last_state.adapt_state.inverse_mass_matrix
    np.testing.assert_allclose(shown["a", "b"], np.diag([12.0, 4.0, 4.0, 4.0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "rank must be a positive integer"), ((5, 4), "most_kept must be at least rank = 5")],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        LowRank(*arguments)


def test_no_structure_with_a_low_rank():
    kernel = pmc.mala(lambda x: -jnp.sum(x**2), 0.1)
    with pytest.raises(ValueError, match="structure must be .* for a dense metric"):
        window_adaptation(
            jax.random.key(0),
            kernel,
            jnp.zeros(2),
            20,
            dense=LowRank(1),
            structure=np.eye(2, dtype=bool),
        )
