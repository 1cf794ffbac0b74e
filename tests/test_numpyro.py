import inspect
import pickle

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import NUTS, Predictive, init_to_value, log_likelihood

import parallel_mcmc as pmc
from parallel_mcmc.numpyro import HMC, MALA, MCMC, RandomWalk

Y = np.array([1.2, -0.4, 2.2, 0.9, 1.7, 0.1, 1.0, 1.5])
FIELDS = (
    "accept_margin",
    "accept_prob",
    "adapt_state.step_size",
    "energy",
    "mean_accept_prob",
    "num_steps",
    "potential_energy",
    "z.sigma",
)


def normal_model(y=None, scale=10.0):
    mu = numpyro.sample("mu", dist.Normal(0.0, scale))
    sigma = numpyro.sample("sigma", dist.HalfNormal(5.0))
    numpyro.deterministic("ratio", mu / sigma)
    with numpyro.plate("places", 8):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def conjugate_model(y):
    theta = numpyro.sample("theta", dist.Normal(jnp.array([0.0, 1.0]), 2.0).to_event(1))
    rate = numpyro.sample("rate", dist.Gamma(3.0, 2.0))
    numpyro.sample("y", dist.Normal(theta, 1.0).to_event(1), obs=y)
    numpyro.sample("n", dist.Poisson(rate), obs=jnp.array([2, 4, 3]))


# Compiled code belongs to a kernel and to shapes: the tests share both.
KERNEL = HMC(normal_model)
FIXED = MALA(normal_model, step_size=0.2, inverse_mass_matrix=[0.3, 0.1])
# Without a warmup the steps need not fit where the chains start.
UNTUNED = pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
CONJUGATE = {kernel: kernel(conjugate_model) for kernel in (HMC, MALA)}


def quiet(kernel=KERNEL, num_warmup=100, num_samples=200, num_chains=2, **options):
    return MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        progress_bar=False,
        **options,
    )


def assert_target_is_numpyros(kernel, *args, **kwargs):
    target = kernel.target(jax.random.key(0), args, kwargs)
    position = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), target.prototype)
    util = numpyro.infer.util
    expected = -util.potential_energy(kernel.model, args, kwargs, position)
    np.testing.assert_allclose(target.logdensity(position), expected, rtol=1e-5)
    sites = util.constrain_fn(kernel.model, args, kwargs, position, return_deterministic=True)
    jax.tree.map(np.testing.assert_allclose, target.constrain(position), sites)


@pytest.fixture(scope="module")
def fitted():
    mcmc = quiet()
    mcmc.run(jax.random.key(0), Y, extra_fields=FIELDS)
    return mcmc


def test_is_a_numpyro_mcmc(fitted):
    assert isinstance(fitted, numpyro.infer.MCMC)
    assert isinstance(fitted.sampler, numpyro.infer.mcmc.MCMCKernel)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (MCMC.__init__, numpyro.infer.MCMC.__init__),
        (MCMC.run, numpyro.infer.MCMC.run),
        (MCMC.warmup, numpyro.infer.MCMC.warmup),
        (HMC.__init__, numpyro.infer.HMC.__init__),
    ],
    ids=lambda function: function.__qualname__,
)
def test_arguments_are_those_of_numpyro(ours, theirs):
    """By name, kind and place; what is ours alone comes after, by name only."""
    ours, theirs = (list(inspect.signature(f).parameters.values()) for f in (ours, theirs))
    names = {parameter.name for parameter in theirs}
    shared = [(p.name, p.kind) for p in ours if p.name in names]
    assert shared == [(p.name, p.kind) for p in theirs]
    # NumPyro's own, but not in its oldest version that we support.
    names |= {"progress_rate"}
    alone = [p for p in ours if p.name not in names]
    assert all(p.kind is p.KEYWORD_ONLY for p in alone)
    assert {p.name for p in alone} <= {"solver", "window"}


def test_samples_are_constrained_and_hold_deterministic_sites(fitted):
    samples = fitted.get_samples(group_by_chain=True)
    assert {name: value.shape for name, value in samples.items()} == {
        "mu": (2, 200),
        "ratio": (2, 200),
        "sigma": (2, 200),
    }
    assert (samples["sigma"] > 0).all()
    np.testing.assert_allclose(samples["ratio"], samples["mu"] / samples["sigma"], rtol=1e-6)
    flat = fitted.get_samples()
    np.testing.assert_array_equal(flat["mu"], samples["mu"].reshape(-1))


def test_extra_fields_mean_what_numpyro_means(fitted):
    fields = fitted.get_extra_fields(group_by_chain=True)
    assert set(fields) == {*FIELDS, "diverging"}
    assert {value.shape for value in fields.values()} == {(2, 200)}
    samples = fitted.get_samples(group_by_chain=True)
    np.testing.assert_allclose(jnp.exp(fields["z.sigma"]), samples["sigma"], rtol=1e-6)

    def potential(mu, log_sigma):
        position = {"mu": mu, "sigma": log_sigma}
        return numpyro.infer.util.potential_energy(normal_model, (Y,), {}, position)

    expected = jax.vmap(jax.vmap(potential))(samples["mu"], fields["z.sigma"])
    np.testing.assert_allclose(fields["potential_energy"], expected, rtol=1e-5)
    # The kinetic energy is not negative, and a chi-square of two degrees of freedom halved.
    kinetic = fields["energy"] - fields["potential_energy"]
    assert (kinetic > -1e-4).all()
    assert 0.8 < kinetic.mean() < 1.2
    mean = np.cumsum(fields["accept_prob"], axis=1)[:, -1] / 200
    np.testing.assert_allclose(fields["mean_accept_prob"][:, -1], mean, rtol=1e-5)
    # A quarter turn, in steps of the tuned size.
    step_size = float(fitted.last_state.adapt_state.step_size[0])
    assert (fields["num_steps"] == np.ceil(np.pi / 2 / step_size)).all()
    assert not fields["diverging"].any()


def test_last_state_is_that_of_the_last_draw(fitted):
    last, fields = fitted.last_state, fitted.get_extra_fields(group_by_chain=True)
    np.testing.assert_allclose(last.z["sigma"], fields["z.sigma"][:, -1])
    for name in ["potential_energy", "energy", "accept_prob", "mean_accept_prob"]:
        np.testing.assert_allclose(getattr(last, name), fields[name][:, -1], rtol=1e-5)
    assert last.i.tolist() == [200] * 2


def test_print_summary(fitted, capsys):
    fitted.print_summary()
    printed = capsys.readouterr().out
    assert "mu" in printed and "sigma" in printed and "Number of divergences: 0" in printed
    assert "ratio" not in printed
    fitted.print_summary(exclude_deterministic=False)
    assert "ratio" in capsys.readouterr().out


def test_solver_statistics(fitted):
    assert fitted.samples.stats.converged.all()
    assert fitted.samples.position["sigma"].shape == (2, 200)
    assert fitted.warmup_result.kernel.metric.dim == 2
    matrix = fitted.last_state.adapt_state.inverse_mass_matrix
    assert {names: part.shape for names, part in matrix.items()} == {("mu", "sigma"): (2, 2, 2)}


def test_arviz(fitted):
    data = az.from_numpyro(fitted, log_likelihood=True)
    assert dict(data["posterior"].sizes)["chain"] == 2
    assert data["posterior"]["ratio"].shape == (2, 200)
    assert data["sample_stats"]["lp"].shape == (2, 200)
    assert data["log_likelihood"]["y"].shape == (2, 200, 8)
    assert data["observed_data"]["y"].shape == (8,)


def test_predictive_and_log_likelihood(fitted):
    samples = fitted.get_samples()
    assert Predictive(normal_model, samples)(jax.random.key(1))["y"].shape == (400, 8)
    assert log_likelihood(normal_model, samples, Y)["y"].shape == (400, 8)


def test_pickle_and_transfer_to_host(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    copy.transfer_states_to_host()
    assert isinstance(copy.get_samples()["mu"], np.ndarray)
    assert_target_is_numpyros(copy.sampler, Y)


@pytest.mark.parametrize("kernel", [pytest.param(HMC, marks=pytest.mark.slow), MALA])
def test_posterior_means(kernel):
    y = jnp.array([1.5, -0.5])
    mcmc = quiet(CONJUGATE[kernel], 300, 1500)
    mcmc.run(jax.random.key(2), y)
    prior_mean = jnp.array([0.0, 1.0])
    # Normal prior of variance 4, and Gamma(3 + 9, 2 + 3).
    expected = {"theta": (prior_mean / 4 + y) / (1 / 4 + 1), "rate": jnp.array(12 / 5)}
    for name, draws in mcmc.get_samples(group_by_chain=True).items():
        draws = np.asarray(draws)
        error = draws.std(axis=(0, 1)) / np.sqrt(effective_sample_size(draws))
        assert (np.abs(draws.mean(axis=(0, 1)) - expected[name]) < 4 * error).all(), name


def test_parallel_is_sequential(x64):
    options = {"step_size": 0.6, "inverse_mass_matrix": [0.1, 0.07], "num_steps": 3}
    kernel = HMC(normal_model, **options)
    draws = {}
    for solver in ["sequential", "parallel"]:
        mcmc = quiet(kernel, num_warmup=0, solver=solver, window=32)
        mcmc.run(jax.random.key(3), Y)
        draws[solver] = mcmc.get_samples()
        assert (mcmc.samples.stats.fallback_steps == 0).all()
    assert mcmc.samples.stats.iterations.min() > 0
    for name, expected in draws["sequential"].items():
        assert expected.dtype == np.float64
        np.testing.assert_allclose(draws["parallel"][name], expected, rtol=1e-6, atol=1e-6)


def test_new_data_of_equal_shape_do_not_trace_again():
    traces = 0

    def model(X, y=None, noise=1.0, name="y"):
        nonlocal traces
        traces += 1
        weights = numpyro.sample("weights", dist.Normal(0, 1).expand([X.shape[1]]).to_event(1))
        numpyro.deterministic("twice", 2 * weights)
        numpyro.sample(name, dist.Normal(X @ weights, noise), obs=y)

    mcmc = quiet(HMC(model))
    X = np.random.default_rng(0).normal(size=(50, 2))
    weights = {}
    for sign in [1, -1]:
        before = traces
        mcmc.run(jax.random.key(0), X, y=sign * X[:, 0], noise=0.5 + sign * 0.1, name="outcome")
        weights[sign] = mcmc.get_samples()["weights"].mean(axis=0)
    assert traces == before
    np.testing.assert_allclose(weights[1], [1, 0], atol=0.2)
    np.testing.assert_allclose(weights[-1], [-1, 0], atol=0.2)


def test_models_that_need_the_values_of_their_data():
    def model(group, y, config):
        num_groups = len(np.unique(group))
        assert config["kind"] == "groups"
        means = numpyro.sample("means", dist.Normal(0, 5).expand([num_groups]).to_event(1))
        numpyro.sample("y", dist.Normal(means[group], 0.5), obs=y)

    group, config = np.repeat([0, 1, 2], 20), {"kind": "groups"}
    kernel = MALA(model, step_size=0.01)
    for shift in [0.0, 1.0]:
        assert_target_is_numpyros(kernel, group, group + shift, config=config)
    mcmc = quiet(kernel, num_warmup=0, num_samples=50)
    mcmc.run(jax.random.key(0), group, group, config=config)
    assert mcmc.get_samples()["means"].shape == (100, 3)


def test_arguments_that_cannot_be_hashed():
    class Data:
        __hash__ = None

        def __init__(self, y):
            self.y = y

    def model(data):
        normal_model(data.y)

    kernel, data = HMC(model), Data(Y)
    for _ in range(2):
        assert_target_is_numpyros(kernel, data)
        data.y = data.y + 1


def test_supports_that_depend_on_data():
    def model(upper, both):
        numpyro.sample("x", dist.Uniform(0.0, upper).to_event(1))
        numpyro.sample("z", dist.Uniform(0.0, both))

    kernel = HMC(model)
    for upper in [1.0, 100.0]:
        assert_target_is_numpyros(kernel, upper * jnp.ones(2), upper)


def test_run_continues_from_warmup_and_from_the_last_state():
    mcmc = quiet()
    mcmc.warmup(jax.random.key(0), Y)
    warm = mcmc.post_warmup_state
    np.testing.assert_array_equal(warm.adapt_state.step_size, mcmc.warmup_result.step_size)
    mcmc.run(jax.random.key(1), Y)
    assert mcmc.last_state.adapt_state is warm.adapt_state
    kernel = mcmc.warmup_result.kernel
    assert mcmc.samples.info.acceptance_rate.shape == (2, 200)

    mcmc.post_warmup_state = mcmc.last_state
    mcmc.run(mcmc.post_warmup_state.rng_key, Y)
    once = mcmc.get_samples()
    mcmc.run(mcmc.post_warmup_state.rng_key, Y)
    jax.tree.map(np.testing.assert_array_equal, once, mcmc.get_samples())
    assert mcmc.warmup_result.kernel is kernel

    mcmc.post_warmup_state = None
    mcmc.run(jax.random.key(2), Y)
    assert mcmc.warmup_result.kernel is not kernel


def test_thinning_keeps_the_last_draw():
    mcmc = quiet(thinning=30)
    mcmc.run(jax.random.key(0), Y, extra_fields=("accept_prob", "z.mu"))
    fields = mcmc.get_extra_fields(group_by_chain=True)
    np.testing.assert_array_equal(fields["z.mu"], mcmc.samples.position["mu"][:, 49::30])
    rates = mcmc.samples.info.acceptance_rate[:, 49::30]
    np.testing.assert_array_equal(fields["accept_prob"], rates)
    np.testing.assert_array_equal(fields["z.mu"][:, -1], mcmc.last_state.z["mu"])
    assert az.from_numpyro(mcmc)["posterior"]["mu"].shape == (2, 6)


@UNTUNED
def test_without_warmup():
    mcmc = quiet(FIXED, num_warmup=0, num_samples=50, num_chains=1)
    mcmc.run(jax.random.key(0), Y)
    assert mcmc.warmup_result is None
    assert mcmc.get_samples()["mu"].shape == (50,)
    tuned = mcmc.last_state.adapt_state
    np.testing.assert_allclose(tuned.step_size, 0.2)
    matrix = tuned.inverse_mass_matrix[("mu", "sigma")]
    np.testing.assert_allclose(matrix, np.diag([0.3, 0.1]), rtol=1e-6)
    assert FIXED.get_diagnostics_str(mcmc.last_state).startswith("1 steps of size 2.00e-01.")


def test_options_of_the_warmup():
    kernel = HMC(normal_model, step_size=0.1, adapt_step_size=False, dense_mass=False)
    mcmc = quiet(kernel)
    mcmc.warmup(jax.random.key(0), Y)
    np.testing.assert_allclose(mcmc.last_state.adapt_state.step_size, 0.1, rtol=1e-6)
    assert mcmc.last_state.adapt_state.inverse_mass_matrix[("mu", "sigma")].shape == (2, 2)


def test_initial_positions():
    values = {"mu": 3.0, "sigma": 2.0}
    kernel = HMC(normal_model, init_strategy=init_to_value(values=values))
    mcmc = quiet(kernel, num_warmup=0)
    mcmc.warmup(jax.random.key(0), Y)
    start = mcmc.post_warmup_state.z
    np.testing.assert_allclose(start["mu"], 3.0, rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(start["sigma"]), 2.0, rtol=1e-6)
    init_params = {"mu": np.array([1.0, 2.0]), "sigma": np.array([0, 0])}
    mcmc.warmup(jax.random.key(0), Y, init_params=init_params)
    start = mcmc.post_warmup_state
    np.testing.assert_array_equal(start.z["mu"], [1, 2])
    assert np.isfinite(start.potential_energy).all()


@UNTUNED
def test_keys():
    mcmc = quiet()
    mcmc.run(jax.random.key(0), Y)
    expected = mcmc.get_samples()["mu"]
    mcmc.run(jax.random.split(jax.random.key(0), 2), Y)
    np.testing.assert_array_equal(mcmc.get_samples()["mu"], expected)
    draws = []
    for key in [jax.random.key(0), jax.random.PRNGKey(0)]:
        mcmc = quiet(FIXED, num_warmup=0, num_samples=50, num_chains=1)
        mcmc.run(key, Y)
        draws.append(mcmc.get_samples()["mu"])
    np.testing.assert_array_equal(*draws)


def test_potential_fn():
    def potential_fn(position):
        return 0.5 * jnp.sum((position["x"] - 1.0) ** 2)

    mcmc = quiet(MALA(potential_fn=potential_fn, step_size=0.7), num_warmup=0)
    mcmc.run(jax.random.key(0), init_params={"x": np.zeros((2, 3))})
    assert mcmc.get_samples()["x"].shape == (400, 3)
    np.testing.assert_allclose(mcmc.get_samples()["x"].mean(), 1.0, atol=0.15)
    assert az.from_numpyro(mcmc)["posterior"]["x"].shape == (2, 200, 3)


def test_postprocess_fn_and_removed_sites():
    mcmc = quiet()
    mcmc.run(jax.random.key(0), Y, extra_fields=("~z.ratio",))
    assert set(mcmc.get_samples()) == {"mu", "sigma"}
    mcmc = quiet(postprocess_fn=lambda z: {"double": 2 * z["mu"]})
    mcmc.run(jax.random.key(0), Y)
    np.testing.assert_allclose(
        mcmc.get_samples()["double"], 2 * mcmc.samples.position["mu"].reshape(-1)
    )


def test_models_with_parameters():
    def model(y):
        scale = numpyro.param("scale", 2.0)
        normal_model(y, scale)

    assert_target_is_numpyros(HMC(model), Y)


def test_interrupted_run(monkeypatch):
    mcmc = quiet()
    mcmc.warmup(jax.random.key(0), Y)
    calls = 0
    run_segment = pmc.segments._run_segment

    def interrupt(*args):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return run_segment(*args)

    monkeypatch.setattr(pmc.segments, "_run_segment", interrupt)
    monkeypatch.setattr(pmc.sampling, "SHORTEST_QUIET_SEGMENT", 50)
    with pytest.warns(pmc.InterruptedWarning, match="interrupted after 100 of 200"):
        mcmc.run(jax.random.key(1), Y, extra_fields=("energy",))
    assert mcmc.get_samples()["mu"].shape == (200,)
    assert mcmc.get_extra_fields()["energy"].shape == (200,)


@pytest.mark.parametrize(
    "kernel, num_warmup, num_chains, method",
    [
        (CONJUGATE[HMC], 300, 2, "vectorized"),
        (MALA(conjugate_model, step_size=0.15), 0, 1, "sequential"),
    ],
)
def test_in_numpyros_own_mcmc(kernel, num_warmup, num_chains, method):
    mcmc = numpyro.infer.MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=1000,
        num_chains=num_chains,
        chain_method=method,
        progress_bar=False,
    )
    y = jnp.array([1.5, -0.5])
    mcmc.run(jax.random.key(0), y, extra_fields=("energy", "adapt_state.step_size"))
    draws = np.asarray(mcmc.get_samples(group_by_chain=True)["rate"])
    error = draws.std() / np.sqrt(effective_sample_size(draws))
    assert abs(draws.mean() - 12 / 5) < 4 * error
    assert mcmc.get_extra_fields()["energy"].shape == (num_chains * 1000,)
    mcmc.print_summary()


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"num_samples": 0}, ValueError, "num_samples"),
        ({"num_samples": -5}, ValueError, "num_samples"),
        ({"num_warmup": -1}, ValueError, "num_warmup"),
        ({"num_warmup": 2.5}, ValueError, "num_warmup"),
        ({"num_chains": 0}, ValueError, "num_chains"),
        ({"thinning": 0}, ValueError, "thinning"),
        ({"thinning": 201}, ValueError, "thinning"),
        ({"solver": "fast"}, ValueError, "solver"),
        ({"window": 0}, ValueError, "window"),
        ({"postprocess_fn": 3}, TypeError, "postprocess_fn"),
        ({"kernel": NUTS(normal_model), "window": 8}, ValueError, "solver and window.*NUTS"),
        ({"progress_rate": 0}, ValueError, "progress_rate"),
    ],
)
def test_wrong_arguments_of_mcmc(options, error, name):
    with pytest.raises(error, match=name):
        quiet(**options)


@pytest.mark.parametrize("kernel", [HMC, MALA, RandomWalk])
@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"step_size": -0.1}, ValueError, "step_size"),
        ({"target_accept_prob": 1.0}, ValueError, "target_accept_prob"),
        ({"dense_mass": ["mu"]}, ValueError, "dense_mass"),
        ({"inverse_mass_matrix": {"mu": np.ones(1)}}, ValueError, "inverse_mass_matrix"),
        ({"inverse_mass_matrix": {("mu",): -np.ones(1)}}, ValueError, "inverse_mass_matrix"),
        ({"inverse_mass_matrix": [-1.0, 1.0]}, ValueError, "inverse_mass_matrix"),
        ({"potential_fn": np.sum}, ValueError, "potential_fn"),
        ({"init_strategy": 0}, TypeError, "init_strategy"),
    ],
)
def test_wrong_arguments_of_kernels(kernel, options, error, name):
    with pytest.raises(error, match=name):
        kernel(normal_model, **options)


@pytest.mark.parametrize("name, value", [("num_steps", 0), ("trajectory_length", -1.0)])
def test_wrong_arguments_of_hmc(name, value):
    with pytest.raises(ValueError, match=name):
        HMC(normal_model, **{name: value})


@pytest.mark.parametrize(
    "options, error, name",
    [
        ({"rng_key": 0}, TypeError, "rng_key"),
        ({"rng_key": np.zeros(3)}, TypeError, "rng_key"),
        ({"extra_fields": "energy"}, TypeError, "extra_fields"),
        ({"extra_fields": ["enrgy"]}, ValueError, "enrgy"),
        ({"extra_fields": ["~z.rat"]}, ValueError, "~z.rat"),
        ({"init_params": {"mu": [0.0, 0.0]}}, ValueError, "init_params"),
        ({"init_params": {"mu": 0.0, "sigma": 0.0}}, ValueError, "init_params"),
        ({"init_params": {"mu": np.full(2, np.inf), "sigma": np.zeros(2)}}, ValueError, "init_pa"),
    ],
)
def test_wrong_arguments_of_run(options, error, name):
    mcmc = quiet(num_warmup=0)
    with pytest.raises(error, match=name):
        mcmc.run(options.pop("rng_key", jax.random.key(0)), Y, **options)


def test_wrong_post_warmup_state():
    mcmc = quiet()
    with pytest.raises(TypeError, match="post_warmup_state"):
        mcmc.post_warmup_state = {"mu": 0.0}
    mcmc.warmup(jax.random.key(0), Y)
    with pytest.raises(ValueError, match="num_chains = 1"):
        quiet(num_chains=1).post_warmup_state = mcmc.last_state


def test_potential_fn_needs_init_params():
    with pytest.raises(ValueError, match="init_params"):
        quiet(HMC(potential_fn=jnp.sum)).run(jax.random.key(0))


# Where NumPyro finds no initial parameters, it warns about the values it does not like.
@pytest.mark.filterwarnings("ignore:Out-of-support:UserWarning")
def test_models_that_cannot_be_sampled():
    def observed_only():
        numpyro.sample("x", dist.Normal(), obs=0.0)

    def infinite():
        x = numpyro.sample("x", dist.Normal())
        numpyro.sample("y", dist.Normal(x, 1.0), obs=jnp.inf)

    for model, error, message in [
        (observed_only, ValueError, "latent sample site"),
        (infinite, RuntimeError, "Cannot find valid initial parameters"),
    ]:
        with pytest.raises(error, match=message):
            quiet(HMC(model)).run(jax.random.key(0))
