import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels import metric
from parallel_mcmc.warmup import Laplace, Pathfinder, window_adaptation

SCALES = np.array([0.01, 1.0, 50.0])
CORRELATION = np.array([[1.0, 0.9, 0.5], [0.9, 1.0, 0.4], [0.5, 0.4, 1.0]])
COVARIANCE = SCALES[:, None] * CORRELATION * SCALES
FACTOR = np.linalg.cholesky(COVARIANCE)
CHAINS = 4


def logdensity(position):
    """A normal distribution in a pytree of two leaves, slightly skewed."""
    q = jnp.append(position["b"], position["a"])
    z = jnp.asarray(np.linalg.inv(FACTOR)) @ (q - 3.0)
    return -0.5 * jnp.sum(z**2) - 0.01 * jnp.sum(jnp.exp(0.3 * z))


def far():
    """Positions 10 standard deviations off."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(CHAINS, 3))
    q = 3.0 + 10 * SCALES * signs
    return {"a": jnp.asarray(q[:, 2]), "b": jnp.asarray(q[:, :2])}


def whitened(positions):
    q = np.concatenate([positions["b"], np.asarray(positions["a"])[..., None]], axis=-1)
    return (q - 3.0) @ np.linalg.inv(FACTOR).T


def in_order(found):
    """The matrix of a metric, in the order of ``COVARIANCE``: a pytree is flattened by name."""
    order = [1, 2, 0]
    return np.asarray(found.inverse_mass_matrix())[np.ix_(order, order)]


def condition(matrix):
    inverse = np.linalg.inv(FACTOR)
    values = np.linalg.eigvalsh(inverse @ matrix @ inverse.T)
    return values.max() / values.min()


@pytest.mark.parametrize(
    ("start", "largest"), [(Laplace(), 1.1), (Pathfinder(), 10.0)], ids=["laplace", "pathfinder"]
)
def test_finds_the_posterior_from_afar(x64, start, largest):
    positions, first = start.approximate(jax.random.key(0), logdensity, far())
    assert np.abs(whitened(far())).max() > 10 > 5 > np.abs(whitened(positions)).max()
    # Chains start from places of their own.
    assert np.ptp(whitened(positions), axis=0).min() > 0.1
    # The first metric fits.
    assert condition(in_order(first)) < largest < 1e3 < condition(np.eye(3))


def test_laplace_is_exact_on_a_gaussian(x64):
    precision = jnp.asarray(np.linalg.inv(COVARIANCE))

    def gaussian(x):
        return -0.5 * (x - 3.0) @ precision @ (x - 3.0)

    positions, first = Laplace().approximate(
        jax.random.key(0), gaussian, jnp.asarray(3 + 10 * SCALES)[None].repeat(2000, 0)
    )
    np.testing.assert_allclose(first.inverse_mass_matrix(), COVARIANCE, rtol=1e-6)
    z = (np.asarray(positions) - 3.0) @ np.linalg.inv(FACTOR).T
    assert np.abs(z.mean(0)).max() < 5 / np.sqrt(2000)
    assert np.abs(np.cov(z.T) - np.eye(3)).max() < 5 * np.sqrt(2 / 2000)


@pytest.mark.parametrize("start", [Laplace(), Pathfinder()], ids=["laplace", "pathfinder"])
def test_a_short_warmup_from_a_bad_start(x64, start):
    kernel = pmc.mala(logdensity, 1.0)
    warmup = window_adaptation(
        jax.random.key(0), kernel, far(), 60, num_chains=CHAINS, start=start, keep_draws=True
    )
    # They have arrived before any metric was adapted, at the ninth step.
    assert np.abs(whitened(warmup.draws.position)[:, 8:]).max() < 6
    samples = pmc.sample(
        jax.random.key(1),
        warmup.kernel,
        warmup.position,
        1000,
        num_chains=CHAINS,
        progress_bar=False,
    )
    z = whitened(samples.position)
    assert max(float(az.rhat(z[..., i])) for i in range(3)) < 1.02


def test_the_metric_stays_if_it_is_not_adapted(x64):
    start = far()
    expected = Laplace().approximate(jax.random.key(9), logdensity, start)[1]
    warmup = window_adaptation(
        jax.random.key(0),
        pmc.mala(logdensity, 0.3),
        start,
        10,
        num_chains=CHAINS,
        adapt_mass_matrix=False,
        start=Laplace(),
    )
    np.testing.assert_allclose(
        warmup.inverse_mass_matrix, expected.inverse_mass_matrix(), rtol=1e-6, atol=1e-9
    )


def test_a_start_of_ones_own():
    class Given:
        def approximate(self, key, logdensity_fn, positions):
            return jax.tree.map(jnp.zeros_like, positions), metric(jnp.array([4.0, 9.0]))

    warmup = window_adaptation(
        jax.random.key(0),
        pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 1e-6),
        jnp.full(2, 5.0),
        1,
        adapt_step_size=False,
        adapt_mass_matrix=False,
        start=Given(),
    )
    np.testing.assert_allclose(warmup.position, 0.0, atol=0.1)
    np.testing.assert_allclose(warmup.inverse_mass_matrix, [4.0, 9.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("unbounded", "start", "message"),
    [
        (lambda x: jnp.sum(x), Laplace(), "start=Laplace.. found no mode of the posterior"),
        (lambda x: -(x[0] ** 2), Laplace(), "start=Laplace.. found no mode of the posterior"),
        (
            lambda x: jnp.where(jnp.all(x == 1), 0.0, jnp.nan) * x.sum(),
            Pathfinder(),
            "start=Pathfinder.. found no approximation",
        ),
    ],
)
def test_posteriors_that_cannot_be_approximated(unbounded, start, message):
    with pytest.raises(ValueError, match=message):
        start.approximate(jax.random.key(0), unbounded, jnp.ones((1, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Laplace(0), "max_iterations must be a positive integer"),
        (lambda: Pathfinder(max_iterations=1.5), "max_iterations must be a positive integer"),
        (lambda: Pathfinder(num_draws=0), "num_draws must be a positive integer"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()
