import dataclasses

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.arviz import to_arviz
from parallel_mcmc.warmup import window_adaptation

CHAINS, DRAWS = 3, 40
SOLVER = {
    "converged": "converged",
    "newton_iterations": "iterations",
    "evaluations": "gradient_evaluations",
    "residual": "residual",
    "fallback": "fallback_steps",
}


def logdensity(position):
    return -0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(position))


def draw(position, solver="sequential", step_size=1.4, chains=CHAINS):
    start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (chains, *leaf.shape)), position)
    kernel = pmc.hmc(logdensity, step_size, None, 2)
    return pmc.sample(
        jax.random.key(1),
        kernel,
        start if chains > 1 else position,
        DRAWS,
        num_chains=chains,
        solver=solver,
        progress_bar=False,
    )


@pytest.fixture(scope="module")
def samples():
    return draw({"a": jnp.zeros(()), "b": jnp.zeros(2)}, solver="parallel")


def test_posterior_has_the_draws(samples):
    data = to_arviz(samples, coords={"place": ["here", "there"]}, dims={"b": ["place"]})
    posterior = data["posterior"]
    assert set(posterior.data_vars) == {"a", "b"}
    assert posterior["a"].dims == ("chain", "draw")
    assert posterior["b"].dims == ("chain", "draw", "place")
    assert list(posterior["place"].values) == ["here", "there"]
    np.testing.assert_array_equal(posterior["b"], samples.position["b"])


def test_type_follows_the_installed_arviz(samples):
    expected = "InferenceData" if az.__version__.startswith("0.") else "DataTree"
    assert type(samples.to_arviz()).__name__ == expected


@pytest.mark.parametrize(
    ("position", "names"),
    [
        (jnp.zeros(2), ["x"]),
        ((jnp.zeros(()), jnp.zeros(2)), ["x.0", "x.1"]),
        ({"a": {"b": jnp.zeros(()), "c": [jnp.zeros(())]}}, ["a.b", "a.c.0"]),
        ({"scope/b": jnp.zeros(())}, ["scope.b"]),
    ],
)
def test_names_of_variables(position, names):
    posterior = to_arviz(draw(position))["posterior"]
    assert list(posterior.data_vars) == names


def test_position_may_be_replaced(samples):
    odds = np.exp(samples.position["b"])
    posterior = to_arviz(samples, position={"odds": odds})["posterior"]
    assert list(posterior.data_vars) == ["odds"]
    np.testing.assert_array_equal(posterior["odds"], odds)


def test_equal_names_are_refused(samples):
    a = samples.position["a"]
    with pytest.raises(ValueError, match="position must give every variable a name of its own"):
        to_arviz(samples, position={"a": {"b": a}, "a.b": a})


def test_statistics(samples):
    stats = to_arviz(samples)["sample_stats"]
    info = samples.info
    for name, values in {
        "acceptance_rate": info.acceptance_rate,
        "diverging": info.is_divergent,
        "n_steps": info.num_integration_steps,
        "accepted": info.is_accepted,
        "accept_margin": info.accept_margin,
    }.items():
        assert stats[name].dims == ("chain", "draw")
        np.testing.assert_array_equal(stats[name], values)
    expected = jax.vmap(jax.vmap(logdensity))(samples.position)
    np.testing.assert_allclose(stats["lp"], expected, rtol=1e-5, atol=1e-6)


def test_energy_is_that_of_the_draw(samples):
    """The kinetic energy of a draw, energy + lp, is positive; of a rejected proposal's it is not
    that of the draw."""
    stats = to_arviz(samples)["sample_stats"]
    accepted = samples.info.is_accepted
    assert 0 < accepted.mean() < 1
    energy = stats["energy"].values
    np.testing.assert_array_equal(energy[accepted], samples.info.energy[accepted])
    assert (energy[~accepted] < samples.info.energy[~accepted]).all()
    assert (energy + stats["lp"].values >= -1e-5).all()


def test_energy_of_an_underflowed_probability_is_not_a_number():
    with pytest.warns(pmc.DivergenceWarning, match="100.00%"):
        samples = draw(jnp.ones(2), step_size=1e4)
    stats = to_arviz(samples)["sample_stats"]
    assert stats["diverging"].values.all()
    assert np.isnan(stats["energy"].values).all()


def test_statistics_of_a_kernel_that_reports_none(samples):
    bare = dataclasses.replace(samples, info=(), step_size=None, sampling_time=None)
    data = to_arviz(bare)
    assert set(data["sample_stats"].data_vars) == {"lp", *SOLVER}
    assert "sampling_time" not in data["posterior"].attrs


def test_how_the_chains_were_solved(samples):
    stats = to_arviz(samples)["sample_stats"]
    for name, field in SOLVER.items():
        assert stats[name].dims == ("chain",)
        np.testing.assert_array_equal(stats[name], getattr(samples.stats, field))
    assert stats["converged"].all() and (stats["newton_iterations"] > 0).all()
    assert stats["step_size"].shape == (CHAINS, DRAWS)
    np.testing.assert_allclose(stats["step_size"], 1.4, rtol=1e-6)


def test_attributes(samples):
    data = to_arviz(samples)
    for group in ["posterior", "sample_stats"]:
        attrs = data[group].attrs
        assert attrs["inference_library"] == "parallel_mcmc"
        assert attrs["inference_library_version"] == pmc.__version__
        assert attrs["sampling_time"] == samples.sampling_time > 0
    per_draw = samples.stats.gradient_evaluations.sum() / (CHAINS * DRAWS)
    assert attrs["gradient_evaluations_per_draw"] == pytest.approx(per_draw)


def test_groups_of_data_and_predictions(samples):
    flat = np.arange(CHAINS * DRAWS * 2.0).reshape(CHAINS * DRAWS, 2)
    data = to_arviz(
        samples,
        prior={"a": np.zeros(7), "y": np.zeros((7, 2))},
        posterior_predictive={"y": flat},
        predictions={"y": flat.reshape(CHAINS, DRAWS, 2)},
        log_likelihood={"y": flat},
        observed_data={"y": np.zeros(2)},
        constant_data={"time": np.arange(2)},
        coords={"time": ["early", "late"]},
        dims={"y": ["time"]},
    )
    assert data["prior"]["a"].shape == (1, 7)
    assert data["prior_predictive"]["y"].dims == ("chain", "draw", "time")
    for group in ["posterior_predictive", "predictions", "log_likelihood"]:
        np.testing.assert_array_equal(data[group]["y"], flat.reshape(CHAINS, DRAWS, 2))
    assert list(data["posterior_predictive"]["time"].values) == ["early", "late"]
    assert data["observed_data"]["y"].dims == ("time",)
    assert data["constant_data"]["time"].shape == (2,)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"posterior_predictive": {"y": np.zeros(7)}}, "posterior_predictive must have the lead"),
        ({"log_likelihood": {"y": np.zeros((2, DRAWS))}}, "log_likelihood must have the leading"),
        ({"log_likelihood": True}, "log_likelihood must be a dictionary"),
        ({"prior": {"a": np.zeros(3), "b": np.zeros(4)}}, "prior must have arrays with one lead"),
        ({"prior": {"a": 1.0}}, "prior must have arrays with one leading axis"),
    ],
)
def test_wrong_shapes(samples, options, message):
    with pytest.raises(ValueError, match=message):
        to_arviz(samples, **options)


def test_samples_of_another_kind():
    with pytest.raises(TypeError, match="samples must be those of parallel_mcmc.sample.*dict"):
        to_arviz({"a": np.zeros((2, 3))})


def test_warmup_groups(samples):
    kernel = pmc.mala(logdensity, 0.3)
    start = {"a": jnp.zeros(2), "b": jnp.zeros((2, 2))}
    warmups = [
        window_adaptation(jax.random.key(0), kernel, start, 30, num_chains=2, keep_draws=keep)
        for keep in [True, False]
    ]
    data = to_arviz(samples, warmup=warmups[0])
    draws = warmups[0].draws
    np.testing.assert_array_equal(data["warmup_posterior"]["b"], draws.position["b"])
    stats = data["warmup_sample_stats"]
    np.testing.assert_array_equal(stats["lp"], draws.logdensity)
    np.testing.assert_array_equal(stats["step_size"], warmups[0].step_sizes)
    assert data["posterior"].attrs["tuning_steps"] == 30
    data = to_arviz(samples, warmup=warmups[1])
    groups = data.groups() if callable(data.groups) else data.groups
    assert not any("warmup" in group for group in groups)
    assert data["posterior"].attrs["tuning_steps"] == 30


@pytest.mark.parametrize("chains", [1, CHAINS])
def test_netcdf_round_trip(tmp_path, chains):
    samples = draw({"a": jnp.zeros(()), "scope/b": jnp.zeros(2)}, "parallel", chains=chains)
    data = to_arviz(samples, observed_data={"y": np.arange(3.0)})
    file = tmp_path / "posterior.nc"
    data.to_netcdf(file)
    again = az.from_netcdf(file)
    for group in ("posterior", "sample_stats", "observed_data"):
        assert set(again[group].data_vars) == set(data[group].data_vars)
        for name, variable in data[group].data_vars.items():
            np.testing.assert_array_equal(again[group][name], variable)
            assert again[group][name].dtype == variable.dtype
    assert dict(again["sample_stats"].attrs) == dict(data["sample_stats"].attrs)


def test_groups_of_the_samples_cannot_be_given(samples):
    with pytest.raises(ValueError, match="groups must not hold posterior"):
        to_arviz(samples, posterior={"a": samples.position["a"]})


def test_summary(samples):
    summary = az.summary(to_arviz(samples))
    assert list(summary.index) == ["a", "b[0]", "b[1]"]
    assert {"r_hat", "ess_bulk"} <= set(summary.columns)
