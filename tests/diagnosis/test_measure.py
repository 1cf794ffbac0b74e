import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.diagnosis import measure


def gaussian(x):
    return -0.5 * jnp.sum(x**2)


@pytest.fixture(scope="module")
def report():
    return pmc.diagnose(pmc.mala(gaussian, 0.5), jnp.zeros(3), jax.random.key(0), num_samples=400)


def test_the_exponent_is_that_of_the_accepted_share(report):
    # A step halves a difference if it is accepted, else keeps it.
    expected = report.acceptance_rate * np.log(0.5)
    assert abs(report.lyapunov_exponent - expected) < 4 * report.lyapunov_error + 0.02


def test_counts(report):
    assert report.kernel == "MALA" and report.dim == 3 and report.num_samples == 400
    assert 1 <= report.iterations <= 8 and report.fallback_steps == 0
    assert report.sequential_evaluations_per_draw == 1
    # A step, and the gradient where every eighth of them starts, at least once.
    assert report.evaluations_per_draw >= 9 / 8
    assert report.largest_gain == pytest.approx(400 / (2 * report.iterations))
    # log(1e-4) / exponent, the tolerance being that of single precision.
    assert report.predicted_iterations == np.ceil(np.log(1e-4) / report.lyapunov_exponent)
    assert report.sequential_seconds > 0 and report.parallel_seconds > 0
    assert report.choice == "sequential" and "MB" in report.reason


def test_as_dict_is_plain(report):
    found = json.loads(json.dumps(report.as_dict()))
    assert found.keys() == {field.name for field in dataclasses.fields(report)}
    assert found["iterations"] == report.iterations


def test_text_has_a_line_for_every_finding(report):
    text = str(report)
    for label in ("kernel", "Lyapunov exponent", "iterations", "time a draw", "solver"):
        assert f"\n{label} " in f"\n{text}"
    assert f"{report.iterations} with all draws in one window" in text


@pytest.mark.slow
def test_a_diagonal_metric_that_does_not_fit_is_named(x64):
    covariance = jnp.array([[1.0, 0.99], [0.99, 1.0]])
    precision = jnp.linalg.inv(covariance)
    kernel = pmc.hmc(lambda x: -0.5 * x @ precision @ x, 0.15, jnp.ones(2), 8)
    found = pmc.diagnose(kernel, jnp.zeros(2), jax.random.key(0), num_samples=200)
    # The eigenvalues are 1.99 and 0.01.
    assert 80 < found.condition_number < 500
    assert any("Use a dense metric: the diagonal one leaves" in text for text in found.advice)


@pytest.mark.slow
def test_many_coordinates_have_no_exponent(monkeypatch):
    monkeypatch.setattr(measure, "LARGEST_DIM", 2)
    kernel = pmc.mala(gaussian, 0.1)
    found = pmc.diagnose(kernel, jnp.zeros(3), jax.random.key(0), num_samples=20)
    assert found.lyapunov_exponent is None and found.predicted_iterations is None
    assert found.condition_number is None
    assert "not estimated" in str(found)


@pytest.mark.slow
def test_a_kernel_without_a_metric():
    kernel = pmc.gibbs([lambda x, noise: 0.5 * x + noise], lambda key: [jax.random.normal(key)])
    found = pmc.diagnose(kernel, jnp.zeros(()), jax.random.key(0), num_samples=100)
    assert found.lyapunov_exponent == pytest.approx(np.log(0.5), abs=1e-3)
    assert found.acceptance_rate is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": 0}, TypeError, "key must be"),
        ({"num_samples": 10}, ValueError, "num_samples must be at least 20, got 10"),
        ({"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
        ({"window": -1}, ValueError, "window must be a positive integer"),
        ({"initial_position": jnp.array([jnp.nan])}, ValueError, "initial_position"),
    ],
)
def test_bad_arguments(arguments, error, message):
    given = {"initial_position": jnp.zeros(1), "key": jax.random.key(0)} | arguments
    with pytest.raises(error, match=message):
        pmc.diagnose(pmc.mala(gaussian, 0.5), **given)
