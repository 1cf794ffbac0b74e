import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.blackjax import recognise
from parallel_mcmc.blackjax.recognise import recognised
from parallel_mcmc.kernels import HMC, MALA


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


KEY = jax.random.key(0)
DENSE = jnp.array([[2.0, 0.5], [0.5, 1.0]])
integrators = blackjax.mcmc.integrators


ONES = jnp.ones(2)


def kernel_of(algorithm, position=ONES):
    found = recognised(algorithm, algorithm.init(position), KEY)
    return None if found is None else found.kernel


@pytest.mark.parametrize("step_size", [0.3, jnp.array(0.3)])
def test_mala_and_its_settings(step_size):
    kernel = kernel_of(blackjax.mala(logdensity, step_size))
    assert isinstance(kernel, MALA)
    assert kernel.logdensity_fn.func is logdensity
    assert float(kernel.step_size) == pytest.approx(0.3)


@pytest.mark.parametrize("matrix", [jnp.array([1.0, 4.0]), np.array([1.0, 4.0]), DENSE])
def test_hmc_and_its_settings(matrix):
    kernel = kernel_of(blackjax.hmc(logdensity, 0.3, matrix, 5))
    assert isinstance(kernel, HMC)
    assert kernel.logdensity_fn.func is logdensity
    assert float(kernel.step_size) == pytest.approx(0.3)
    assert kernel.num_integration_steps == 5
    np.testing.assert_allclose(kernel.metric.inverse_mass_matrix(), matrix, rtol=1e-6)


def own_step(algorithm):
    return blackjax.base.SamplingAlgorithm(algorithm.init, lambda k, s: algorithm.step(k, s))


@pytest.mark.parametrize(
    "algorithm",
    [
        blackjax.nuts(logdensity, 0.3, jnp.ones(2)),
        blackjax.barker_proposal(logdensity, 0.3),
        blackjax.dynamic_hmc(logdensity, 0.3, jnp.ones(2)),
        blackjax.hmc(logdensity, 0.3, jnp.ones(2), 5, integrator=integrators.mclachlan),
        blackjax.hmc(logdensity, 0.3, jnp.ones(2), 5, divergence_threshold=10),
        blackjax.hmc(logdensity, 0.3, lambda x: jnp.ones(2), 5),
        blackjax.hmc(logdensity, jnp.array([0.3, 0.2]), jnp.ones(2), 5),
        own_step(blackjax.mala(logdensity, 0.3)),
    ],
    ids=lambda algorithm: algorithm.step.__qualname__,
)
def test_others_are_not_taken_for_hmc_or_mala(algorithm):
    state = blackjax.hmc.init(jnp.ones(2), logdensity)
    assert recognised(algorithm, state, KEY) is None


def test_settings_that_our_kernels_reject_are_not_taken():
    assert kernel_of(blackjax.mala(logdensity, -0.3)) is None
    assert kernel_of(blackjax.hmc(logdensity, 0.3, jnp.ones(2), 0)) is None


def test_a_kernel_whose_step_differs_is_not_taken(monkeypatch):
    algorithm = blackjax.mala(logdensity, 0.3)
    monkeypatch.setattr(
        recognise, "mala", lambda logdensity_fn, step_size: MALA_OF(logdensity_fn, 1.1 * step_size)
    )
    assert kernel_of(algorithm) is None


MALA_OF = recognise.mala


def test_traced_states_are_compared_on_another_problem():
    algorithm = blackjax.hmc(logdensity, 0.3, DENSE, 5)
    found = []

    @jax.jit
    def trace(x):
        found.append(recognised(algorithm, algorithm.init(x), KEY))
        return x

    trace(jnp.ones(2))
    assert isinstance(found[0].kernel, HMC) and found[0].traced
    assert not recognised(algorithm, algorithm.init(ONES), KEY).traced
    assert recognise._known_to_agree("hmc") and recognise._known_to_agree("mala")


def test_a_log_density_that_closes_over_what_is_traced():
    state = blackjax.mala.init(ONES, logdensity)
    found = []

    def trace(scale):
        algorithm = blackjax.mala(lambda x: logdensity(x / scale), 0.3)
        found.append(recognised(algorithm, state, KEY))
        return scale

    for transformed in (jax.jit(trace), jax.grad(trace)):
        transformed(2.0)
    assert len(found) == 2 and all(f.traced and isinstance(f.kernel, MALA) for f in found)


def test_a_traced_state_of_another_size_than_the_metric_is_not_taken():
    algorithm = blackjax.hmc(logdensity, 0.3, jnp.ones(3), 5)
    found = []

    def trace(x):
        found.append(kernel_of(algorithm, x))
        return x

    jax.eval_shape(trace, ONES)
    assert found == [None] and kernel_of(algorithm) is None
