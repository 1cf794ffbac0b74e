import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc import sampling, segments


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


def draw(**change):
    arguments = {
        "key": jax.random.key(0),
        "kernel": pmc.hmc(logdensity, 0.5, jnp.ones(3), 3),
        "initial_position": jnp.zeros(3),
        "num_samples": 100,
        "progress_bar": False,
    } | change
    return pmc.sample(**arguments)


def test_solvers_agree(x64):
    parallel, plain = (draw(solver=solver).position for solver in ("parallel", "sequential"))
    np.testing.assert_allclose(parallel, plain, atol=1e-6)


def test_typed_and_legacy_keys_agree():
    legacy = draw(key=jax.random.PRNGKey(0)).position
    np.testing.assert_array_equal(legacy, draw().position)


def test_moments_of_a_gaussian(x64):
    start = jax.random.normal(jax.random.key(1), (4, 3))
    samples = draw(initial_position=start, num_samples=2000, num_chains=4, solver="parallel")
    assert samples.position.shape == (4, 2000, 3)
    # Standard errors from the means of 40 batches of 200 draws.
    for statistic, truth in ((samples.position, 0.0), (samples.position**2, 1.0)):
        batches = statistic.reshape(40, 200, 3).mean(1)
        error = batches.std(0, ddof=1) / np.sqrt(40)
        assert np.all(np.abs(batches.mean(0) - truth) < 4 * error)


def test_all_segments_are_one_program():
    # A Python number makes an array of a weak type, which the later states do not have.
    start = {"x": jnp.array(0.5)}
    kernel = pmc.rmh(lambda q: -0.5 * q["x"] ** 2, 0.5)
    before = segments._run_segment._cache_size()
    draw(kernel=kernel, initial_position=start)
    assert segments._run_segment._cache_size() == before + 1


def test_provenance_of_samples():
    samples = draw(initial_position=jnp.zeros((2, 3)), num_chains=2)
    np.testing.assert_allclose(samples.step_size, [0.5, 0.5])
    assert 0 < samples.sampling_time < 1000


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "key must be", {"key": 0}),
        (TypeError, "key must be", {"key": jnp.zeros(2)}),
        (ValueError, "num_samples must be", {"num_samples": 0}),
        (ValueError, "num_chains must be", {"num_chains": 0}),
        (ValueError, "initial_position must have a leading axis", {"num_chains": 2}),
        (ValueError, "inverse_mass_matrix is for 3", {"initial_position": jnp.zeros(4)}),
        (ValueError, "initial_position must be finite", {"initial_position": jnp.full(3, jnp.nan)}),
        (
            ValueError,
            "initial_position must have a finite log density",
            {"kernel": pmc.hmc(lambda x: jnp.log(-1.0 - x[0] ** 2), 0.5, jnp.ones(3), 3)},
        ),
        (ValueError, "solver must be", {"solver": "fast"}),
        (ValueError, "window must be", {"window": 0}),
    ],
)
def test_bad_arguments(error, message, change):
    with pytest.raises(error, match=message):
        draw(**change)


def test_negative_step_size():
    with pytest.raises(ValueError, match="step_size must be positive"):
        pmc.mala(logdensity, -0.1)
    with pytest.raises(ValueError, match="step_size must be positive"):
        pmc.hmc(logdensity, -0.1, None, 5)


def test_interrupt_keeps_what_was_drawn(monkeypatch):
    whole, run, calls = draw().position, segments._run_segment, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(segments, "_run_segment", interrupted)
    monkeypatch.setattr(sampling, "SHORTEST_QUIET_SEGMENT", 50)
    with pytest.warns(pmc.InterruptedWarning, match="interrupted after 50 of 100"):
        partial = draw()
    np.testing.assert_array_equal(partial.position, whole[:, :50])
