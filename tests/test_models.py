import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.infer.util import log_density
from scipy import stats

from parallel_mcmc.data import load_eight_schools, load_german_credit
from parallel_mcmc.models import eight_schools, german_credit

REFERENCE = pathlib.Path(__file__).parent / "data"


def test_german_credit_log_density(x64):
    X, y, _ = load_german_credit()
    beta = np.linspace(-1.0, 1.0, 20)
    alpha = -0.7
    actual, _ = log_density(german_credit, (X, y), {}, {"alpha": alpha, "beta": beta})
    probability = 1 / (1 + np.exp(-(alpha + X @ beta)))
    expected = (
        stats.norm.logpdf(alpha, 0, 2.5)
        + stats.norm.logpdf(beta).sum()
        + stats.bernoulli.logpmf(y, probability).sum()
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_eight_schools_log_density(x64):
    y, sigma = load_eight_schools()
    mu, tau, theta_base = 4.0, 3.0, np.linspace(-1.0, 1.0, 8)
    parameters = {"mu": mu, "tau": tau, "theta_base": theta_base}
    actual, _ = log_density(eight_schools, (sigma, y), {}, parameters)
    expected = (
        stats.norm.logpdf(mu, 0, 5)
        + stats.halfcauchy.logpdf(tau, scale=5)
        + stats.norm.logpdf(theta_base).sum()
        + stats.norm.logpdf(y, mu + tau * theta_base, sigma).sum()
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("model", "inputs", "shape"),
    [
        (german_credit, load_german_credit().X[:7], (7,)),
        (eight_schools, load_eight_schools().sigma, (8,)),
    ],
)
def test_models_sample_the_data_when_none_are_given(model, inputs, shape):
    inputs = jnp.asarray(inputs, dtype=jnp.float32)
    prior = numpyro.infer.Predictive(model, num_samples=3)(jax.random.key(0), inputs)
    assert prior["y"].shape == (3, *shape)


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("german_credit", {"alpha": (), "beta": (20,), "odds_ratio": (20,)}),
        ("eight_schools", {"mu": (), "tau": (), "theta_base": (8,), "theta": (8,)}),
    ],
)
def test_reference_posteriors_have_converged(name, variables):
    reference = json.loads((REFERENCE / f"{name}_nuts.json").read_text())
    assert reference["sampler"]["divergences"] == 0
    assert {key: np.shape(value["mean"]) for key, value in reference["variables"].items()} == (
        variables
    )
    for statistics in reference["variables"].values():
        assert np.max(statistics["r_hat"]) < 1.001
        assert np.min(statistics["ess_bulk"]) > 10_000
        assert np.all(np.array(statistics["mcse_mean"]) < 0.01 * np.array(statistics["sd"]))
