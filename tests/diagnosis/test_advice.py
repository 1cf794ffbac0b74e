import dataclasses

import jax.numpy as jnp
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.diagnosis.advice import advice

KERNEL = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5, jnp.ones(3))
FINE = pmc.Report(
    kernel="MALA",
    device="cpu",
    dim=3,
    num_samples=1000,
    acceptance_rate=0.8,
    lyapunov_exponent=-0.5,
    lyapunov_error=0.01,
    predicted_iterations=20,
    iterations=5,
    fallback_steps=0,
    window=32,
    evaluations_per_draw=3.0,
    sequential_evaluations_per_draw=1.0,
    sequential_seconds=1e-3,
    parallel_seconds=5e-4,
    largest_gain=100.0,
    condition_number=2.0,
    choice="parallel",
    way="parallel",
    reason="",
    advice=(),
)


def test_nothing_to_say():
    assert advice(FINE, KERNEL) == ()


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        ({"lyapunov_exponent": 0.1}, "cannot pay"),
        ({"lyapunov_exponent": -0.01, "lyapunov_error": 0.02}, "do not clearly approach"),
        ({"fallback_steps": 7}, "left 7 of 1000 draws to the loop"),
        ({"condition_number": 310.0}, "the diagonal one leaves condition number 310"),
        ({"acceptance_rate": 0.2}, "Only 20% of the proposals"),
        ({"acceptance_rate": 0.999}, "a larger step size"),
        ({"parallel_seconds": 3e-3}, "Here the loop is 3.0 times faster"),
    ],
)
def test_each_finding_has_its_words(finding, words):
    (text,) = advice(dataclasses.replace(FINE, **finding), KERNEL)
    assert words in text


def test_a_dense_metric_wants_more_draws():
    kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.5, jnp.eye(3))
    (text,) = advice(dataclasses.replace(FINE, condition_number=50.0), kernel)
    assert "Estimate it from more draws" in text
