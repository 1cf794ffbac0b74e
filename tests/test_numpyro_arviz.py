"""What ArviZ makes of a NumPyro model's draws."""

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import NUTS, Predictive, log_likelihood

from parallel_mcmc.arviz import to_arviz
from parallel_mcmc.data import load_eight_schools
from parallel_mcmc.numpyro import HMC, MALA, MCMC

SCHOOLS = tuple("ABCDEFGH")


def eight_schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", len(sigma)):
        theta_base = numpyro.sample("theta_base", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * theta_base)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)
    numpyro.factor("nothing", jnp.zeros(()))


def pooled(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    with numpyro.plate("school", len(sigma)):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def schools():
    y, sigma = load_eight_schools()
    return np.asarray(sigma, np.float32), np.asarray(y, np.float32)


def fit(model, **options):
    mcmc = MCMC(
        HMC(model, num_steps=6, target_accept_prob=0.95),
        num_warmup=200,
        num_samples=200,
        num_chains=2,
        progress_bar=False,
        **options,
    )
    mcmc.warmup(jax.random.key(0), *schools(), collect_warmup=True)
    mcmc.run(jax.random.key(1), *schools())
    return mcmc


@pytest.fixture(scope="module")
def mcmc():
    return fit(eight_schools, thinning=2)


@pytest.fixture(scope="module")
def data(mcmc):
    sigma, _ = schools()
    predictive = Predictive(eight_schools, mcmc.get_samples())(jax.random.key(2), sigma)
    prior = Predictive(eight_schools, num_samples=50)(jax.random.key(3), sigma)
    return to_arviz(
        mcmc,
        log_likelihood=True,
        prior=prior,
        posterior_predictive={"y": predictive["y"]},
        constant_data={"sigma": sigma},
        coords={"school": SCHOOLS},
        dims={"theta": ["school"], "sigma": ["school"]},
    )


def test_values_are_those_of_the_mcmc(mcmc, data):
    samples = mcmc.get_samples(group_by_chain=True)
    assert set(data["posterior"].data_vars) == set(samples)
    for name, values in samples.items():
        np.testing.assert_array_equal(data["posterior"][name], values)
    assert data["posterior"]["tau"].shape == (2, 100)
    kept = slice(1, None, 2)
    stats = data["sample_stats"]
    np.testing.assert_array_equal(stats["lp"], mcmc.samples.logdensity[:, kept])
    np.testing.assert_allclose(stats["step_size"][:, 0], mcmc.last_state.adapt_state.step_size)
    assert (stats["n_steps"] == 6).all()
    sigma, y = schools()
    np.testing.assert_array_equal(data["observed_data"]["y"], y)
    assert list(data["observed_data"].data_vars) == ["y"]
    np.testing.assert_array_equal(data["constant_data"]["sigma"], sigma)
    expected = log_likelihood(eight_schools, mcmc.get_samples(), sigma, y)["y"]
    np.testing.assert_allclose(
        data["log_likelihood"]["y"], expected.reshape(2, 100, 8), rtol=1e-5, atol=1e-5
    )


def test_energies_are_those_of_the_states(mcmc, data):
    again = MCMC(mcmc.sampler, num_warmup=0, num_samples=200, num_chains=2, progress_bar=False)
    again.post_warmup_state = mcmc.post_warmup_state
    again.run(jax.random.key(1), *schools(), extra_fields=["energy"])
    energy = again.get_extra_fields(group_by_chain=True)["energy"][:, 1::2]
    np.testing.assert_allclose(data["sample_stats"]["energy"], energy, rtol=1e-3)


def test_names_of_dimensions(data):
    for group, name in [
        ("posterior", "theta_base"),
        ("posterior", "theta"),
        ("observed_data", "y"),
        ("log_likelihood", "y"),
        ("posterior_predictive", "y"),
        ("prior_predictive", "y"),
        ("constant_data", "sigma"),
    ]:
        assert data[group][name].dims[-1] == "school", (group, name)
        assert tuple(data[group]["school"].values) == SCHOOLS
    assert data["prior"]["theta"].shape == (1, 50, 8)
    assert set(data["prior_predictive"].data_vars) >= {"y"}


def test_collected_warmup(mcmc, data):
    warmup = data["warmup_posterior"]
    assert warmup["theta"].shape == (2, 200, 8)
    draws = mcmc.warmup_result.draws
    np.testing.assert_allclose(warmup["tau"], np.exp(draws.position["tau"]), rtol=1e-5)
    theta = warmup["mu"].values[..., None] + warmup["tau"].values[..., None] * warmup["theta_base"]
    np.testing.assert_allclose(warmup["theta"], theta, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(data["warmup_sample_stats"]["lp"], draws.logdensity)
    assert data["posterior"].attrs["tuning_steps"] == 200


# So few draws give loo little to go by.
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto:UserWarning")
def test_statistics_of_arviz(data):
    summary = az.summary(data, var_names=["mu", "tau", "theta"])
    assert list(summary.index) == ["mu", "tau", *(f"theta[{school}]" for school in SCHOOLS)]
    other = to_arviz(fit(pooled), log_likelihood=True)
    with np.errstate(all="ignore"):
        loo = az.loo(data)
        table = az.compare({"hierarchical": data, "pooled": other})
    elpd = loo.elpd_loo if hasattr(loo, "elpd_loo") else loo.elpd
    assert -40 < float(elpd) < -25
    assert set(table.index) == {"hierarchical", "pooled"}


# ArviZ 0.23 with Matplotlib 3.11.
@pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")
def test_pictures_of_arviz(data):
    predictive = "plot_ppc" if hasattr(az, "plot_ppc") else "plot_ppc_dist"
    with matplotlib.rc_context({"backend": "agg"}):
        from matplotlib import pyplot

        for name in ["plot_trace", "plot_rank", "plot_energy", predictive]:
            options = {} if name in ("plot_energy", predictive) else {"var_names": ["mu", "tau"]}
            getattr(az, name)(data, **options)
            assert pyplot.get_fignums(), name
            pyplot.close("all")


def test_scoped_sites_and_plates():
    def part():
        with numpyro.plate("rows", 3, dim=-2), numpyro.plate("columns", 2, dim=-1):
            loc = numpyro.sample("loc", dist.Normal(0.0, 1.0))
            numpyro.deterministic("powers", loc[..., None] ** jnp.arange(4))
            numpyro.deterministic("mean", loc.mean())
            return loc

    def model():
        numpyro.handlers.scope(part, prefix="left")()
        numpyro.sample("free", dist.Normal(0.0, 1.0).expand([2, 3]))

    mcmc = MCMC(MALA(model, step_size=0.5), num_warmup=0, num_samples=5, progress_bar=False)
    mcmc.run(jax.random.key(0))
    posterior = to_arviz(mcmc)["posterior"]
    assert set(posterior.data_vars) == {"left.loc", "left.powers", "left.mean", "free"}
    assert posterior["left.loc"].dims[2:] == ("left.rows", "left.columns")
    # Of a deterministic site, what is left after the plates is its own.
    assert posterior["left.powers"].dims[2:4] == ("left.rows", "left.columns")
    assert posterior["left.powers"].shape == (1, 5, 3, 2, 4)
    assert posterior["left.mean"].dims == ("chain", "draw")
    assert posterior["free"].shape == (1, 5, 2, 3)


def test_potential_fn():
    kernel = MALA(potential_fn=lambda x: 0.5 * jnp.sum(x**2))
    mcmc = MCMC(kernel, num_warmup=5, num_samples=5, progress_bar=False)
    with pytest.raises(ValueError, match="has run, this one has not"):
        to_arviz(mcmc)
    mcmc.run(jax.random.key(0), init_params=jnp.ones(3))
    assert to_arviz(mcmc)["posterior"]["x"].shape == (1, 5, 3)
    with pytest.raises(ValueError, match="log_likelihood must be False"):
        to_arviz(mcmc, log_likelihood=True)
    with pytest.raises(ValueError, match="warmup must be left out"):
        to_arviz(mcmc, warmup=mcmc.warmup_result)


@pytest.mark.filterwarnings("ignore:.*is not a kernel of parallel_mcmc:UserWarning")
def test_another_kernel_is_left_to_arviz():
    mcmc = MCMC(NUTS(pooled), num_warmup=5, num_samples=5, progress_bar=False)
    mcmc.run(jax.random.key(0), *schools())
    with pytest.raises(TypeError, match="use arviz.from_numpyro for those of NUTS"):
        to_arviz(mcmc)
