"""What goes wrong inside a log density: never a wrong draw, and nothing hidden."""

import re

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.blackjax import run_inference_algorithm
from parallel_mcmc.numpyro import HMC, MCMC

START = np.array([0.0, 0.3])


def gaussian(x):
    return -0.5 * jnp.sum(x**2)


def spoilt(value):
    """Return a Gaussian whose density is ``value`` beyond 1 in the first coordinate."""
    return lambda x: jnp.where(x[0] > 1, value, gaussian(x))


def spoilt_gradient(x):
    """A Gaussian whose gradient, and not its value, is no number beyond 1."""
    safe = jnp.where(x[0] > 1, x[0] - 1, 0.0)
    # The derivative of the second term is infinite times zero beyond 1, and zero else.
    return gaussian(x) + 0 * jnp.sqrt(jnp.maximum(0 * safe, 0.0) * jnp.sign(safe))


KERNELS = {
    "hmc": lambda f: pmc.hmc(f, 0.5, None, 3),
    "rmh": lambda f: pmc.rmh(f, 0.8),
    "mala": lambda f: pmc.mala(f, 0.6),
    "barker": lambda f: pmc.barker(f, 0.8),
    "adjusted mclmc": lambda f: pmc.adjusted_mclmc(f, 0.8, None, 3),
    "ula": lambda f: pmc.ula(f, 0.3),
    "underdamped": lambda f: pmc.underdamped_langevin(f, 0.5),
    "mclmc": lambda f: pmc.mclmc(f, 1.0, 0.8),
    "cycle": lambda f: pmc.cycle([pmc.hmc(f, 0.5, None, 3), pmc.rmh(f, 0.8)]),
}
FAST = [("hmc", "nan"), ("hmc", "gradient"), ("ula", "inf")]
slow = pytest.mark.slow


def draw(kernel, num_samples=120, start=START, **options):
    options = {"progress_bar": False} | options
    return pmc.sample(jax.random.key(0), kernel, jnp.asarray(start, float), num_samples, **options)


def diverged(info):
    """Return which transitions were recorded as divergent, of all parts of a cycle."""
    if hasattr(info, "infos"):
        return np.any([diverged(part) for part in info.infos], axis=0)
    return ~info.nonans if hasattr(info, "nonans") else info.is_divergent


# At the start.


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_start_without_a_density_is_an_error(value):
    with pytest.raises(ValueError, match=r"finite log density and gradient, .* in chain \[1\]"):
        draw(KERNELS["hmc"](spoilt(value)), start=jnp.array([[0.0, 0], [2, 0]]), num_chains=2)


def test_a_start_without_a_gradient_is_an_error():
    with pytest.raises(ValueError, match=r"finite log density and gradient, .* in chain \[0\]"):
        draw(KERNELS["mala"](lambda x: -jnp.sqrt(jnp.sum(x**2))), start=jnp.zeros(2))


# On the way.


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param(name, spoil, marks=() if (name, spoil) in FAST else slow)
        for name in KERNELS
        for spoil in ("nan", "inf", "gradient")
        if (name, spoil) != ("rmh", "gradient")
    ],
)
@pytest.mark.filterwarnings("ignore::parallel_mcmc.SequentialFallbackWarning")
def test_what_is_not_finite_is_not_entered(x64, name, spoil):
    f = {"nan": spoilt(jnp.nan), "inf": spoilt(jnp.inf), "gradient": spoilt_gradient}[spoil]
    kernel = KERNELS[name](f)
    with pytest.warns(pmc.DivergenceWarning, match="of 120 transitions diverged") as caught:
        plain = draw(kernel, solver="sequential")
    assert np.isfinite(plain.position).all()
    assert np.isfinite(plain.logdensity).all()
    if name != "cycle" or spoil != "gradient":
        assert (plain.position[..., 0] <= 1).all()
    count = int(re.match(r"(\d+) of", str(caught[0].message))[1])
    assert count == diverged(plain.info).sum() > 0
    with pytest.warns(pmc.DivergenceWarning):
        solved = draw(kernel, solver="parallel", window=40)
    np.testing.assert_allclose(solved.position, plain.position, atol=1e-6)
    np.testing.assert_array_equal(diverged(solved.info), diverged(plain.info))


@pytest.mark.parametrize("name", [pytest.param("mala", marks=slow), "hmc"])
def test_numbers_that_are_none_are_rejected_as_in_blackjax(x64, name):
    f = spoilt(jnp.nan)
    algorithm = blackjax.mala(f, 0.6) if name == "mala" else blackjax.hmc(f, 0.5, jnp.ones(2), 3)
    with pytest.warns(pmc.DivergenceWarning):
        ours = draw(KERNELS[name](f), solver="parallel")
    _, (states, info) = blackjax.util.run_inference_algorithm(
        jax.random.key(0), algorithm, 120, initial_state=algorithm.init(jnp.asarray(START))
    )
    np.testing.assert_allclose(ours.position[0], states.position, atol=1e-6)
    np.testing.assert_array_equal(ours.info.is_accepted[0], info.is_accepted)
    if name == "hmc":
        np.testing.assert_array_equal(ours.info.is_divergent[0], info.is_divergent)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=slow) for seed in range(1, 6))])
def test_an_update_that_fails_at_a_random_step(x64, seed):
    """Nothing can mend a Gibbs update: the draws before it are right, and the loss is told."""
    bad = int(np.random.default_rng(seed).integers(1, 100))

    def update(x, noise):
        return jnp.where(noise[0] == bad, jnp.nan, 0.5 * x + noise[1])

    def number(key):
        # The number of the draw, by its key.
        keys = jax.random.key_data(jax.random.split(jax.random.key(0), 100))
        here = (keys == jax.random.key_data(key)).all(axis=-1)
        return (jnp.argmax(here), jax.random.normal(key))

    kernel = pmc.gibbs([update], lambda key: (number(key),))
    draws = []
    for solver in ["sequential", "parallel"]:
        message = f"{100 - bad} of 100 draws are not finite"
        with pytest.warns((pmc.NonFiniteWarning, pmc.SequentialFallbackWarning)) as caught:
            samples = draw(kernel, 100, jnp.array(0.5), solver=solver, window=25)
        assert any(message in str(warning.message) for warning in caught)
        draws.append(samples.position[0])
    assert np.isfinite(draws[0][:bad]).all() and np.isnan(draws[0][bad:]).all()
    np.testing.assert_allclose(draws[1], draws[0], atol=1e-8)


def test_a_recurrence_that_fails_at_a_step(x64):
    inputs = jax.random.normal(jax.random.key(0), (60,)).at[37].set(jnp.nan)
    # What is found are whole strides, of eight steps.
    with pytest.warns(pmc.SequentialFallbackWarning, match="finished 28 of 60 steps"):
        solution = pmc.solve(lambda x, u: 0.5 * x + u, jnp.array(0.0), inputs)
    assert not solution.converged
    assert np.isfinite(solution.states[:37]).all() and np.isnan(solution.states[37:]).all()


# Divergences.


def funnel(q):
    """Neal's funnel, centred."""
    return -0.5 * (q[0] / 3) ** 2 - 0.5 * jnp.sum(q[1:] ** 2) * jnp.exp(-q[0]) - 1.5 * q[0]


def test_numpyro_counts_divergences_in_a_warning_and_in_the_summary(capsys):
    def model():
        y = numpyro.sample("y", dist.Normal(0, 3))
        numpyro.sample("x", dist.Normal(0, jnp.exp(y / 2)).expand([3]))

    mcmc = MCMC(
        HMC(model, step_size=2.0, num_steps=5), num_warmup=0, num_samples=100, progress_bar=False
    )
    with pytest.warns(pmc.DivergenceWarning) as caught:
        mcmc.run(jax.random.key(1))
    count = int(np.sum(mcmc.get_extra_fields()["diverging"]))
    assert 0 < count < 100
    assert str(caught[0].message).startswith(f"{count} of 100 transitions diverged")
    mcmc.print_summary()
    assert f"Number of divergences: {count}" in capsys.readouterr().out


# Boundaries of the support.


def box(x):
    return jnp.where(((x > 0) & (x < 1)).all(), 0.0, -jnp.inf)


def half_normal(x):
    return jnp.where((x > 0).all(), gaussian(x), -jnp.inf)


# A trajectory that leaves the box from anywhere would never be accepted.
BOUNDED = {name: KERNELS[name] for name in ("hmc", "rmh", "mala", "barker")} | {
    "adjusted mclmc": lambda f: pmc.adjusted_mclmc(f, 0.15, None, 2)
}


@pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
@slow
@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize(
    ("target", "mean", "variance"),
    [(box, 0.5, 1 / 12), (half_normal, np.sqrt(2 / np.pi), 1 - 2 / np.pi)],
    ids=["box", "half normal"],
)
def test_law_within_boundaries(x64, name, target, mean, variance):
    start = jnp.full((8, 2), 0.5)
    samples = draw(BOUNDED[name](target), 4000, start, num_chains=8, solver="sequential")
    # The first draws remember the start.
    x = samples.position[:, 100:]
    assert (x > 0).all() and (target is not box or (x < 1).all())
    for values, truth in ((x, mean), ((x - mean) ** 2, variance)):
        averages = values.mean((1, 2))
        assert abs(averages.mean() - truth) < 4 * averages.std(ddof=1) / np.sqrt(8)


@slow
@pytest.mark.parametrize("name", ["rmh", "hmc"])
@pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
def test_parallel_within_boundaries(x64, name):
    start, kernel = jnp.full(2, 0.5), KERNELS[name](box)
    plain, solved = (
        draw(kernel, 100, start, solver=solver, window=50) for solver in ("sequential", "parallel")
    )
    np.testing.assert_allclose(solved.position, plain.position, atol=1e-9)


def test_a_walk_out_of_the_support_is_no_divergence():
    # The test run would make an error of a warning.
    samples = draw(KERNELS["rmh"](box), start=jnp.full(2, 0.5))
    assert not samples.info.is_accepted.all()
    assert not samples.info.is_divergent.any()


# Log densities that raise.


class OwnError(Exception):
    pass


def raising(x):
    raise OwnError("no data for year 7")


def test_an_error_of_the_log_density_is_the_users():
    with pytest.raises(OwnError, match="no data for year 7"):
        draw(KERNELS["hmc"](raising))
    with pytest.raises(OwnError, match="no data for year 7"):
        algorithm = blackjax.rmh(raising, lambda key, x: x)
        run_inference_algorithm(jax.random.key(0), algorithm, 5, initial_position=jnp.zeros(2))

    def model():
        raising(numpyro.sample("x", dist.Normal()))

    with pytest.raises(OwnError, match="no data for year 7"):
        MCMC(HMC(model), num_warmup=5, num_samples=5).run(jax.random.key(0))


def test_an_error_of_types_names_the_log_density():
    with pytest.raises(ValueError, match="logdensity_fn does not accept .*Attempted boolean") as e:
        draw(KERNELS["rmh"](lambda x: x[0] if x[0] > 0 else -x[0]))
    assert isinstance(e.value.__cause__, TypeError)


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
def test_an_error_while_sampling_is_not_hidden(solver):
    calls = []

    def host(x):
        calls.append(1)
        if len(calls) > 60:
            raise OwnError("the licence has run out")
        return np.asarray(-0.5 * np.sum(x**2), x.dtype)

    def logdensity(x):
        shape = jax.ShapeDtypeStruct((), x.dtype)
        return jax.pure_callback(host, shape, x, vmap_method="sequential")

    with pytest.raises(Exception, match="the licence has run out"):
        draw(pmc.rmh(logdensity, 0.5), 200, solver=solver)


# Regions where neighbours part.


def mixture(x):
    """Two narrow modes, six standard deviations apart in each coordinate."""
    return jnp.logaddexp(-2 * jnp.sum((x - 1.5) ** 2), -2 * jnp.sum((x + 1.5) ** 2))


def edges(kernel, start, positions):
    """Return how far each draw is from one step of the kernel at the draw before."""

    @jax.vmap
    def step(position, key):
        state = kernel.init(position)
        return kernel.step(state, kernel.draw(key, position))[0].position

    keys = jax.random.split(jax.random.key(0), len(positions))
    before = jnp.concatenate([start[None], positions[:-1]])
    return np.abs(jax.jit(step)(before, keys) - positions).max(axis=1)


@pytest.mark.parametrize(
    ("target", "kernel"),
    [
        pytest.param(funnel, lambda f: pmc.hmc(f, 0.5, None, 20), id="funnel"),
        pytest.param(mixture, lambda f: pmc.hmc(f, 0.35, None, 30), id="mixture", marks=slow),
    ],
)
@pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
def test_the_loop_finishes_where_the_iteration_cannot(x64, target, kernel):
    """Draws are compared step by step: where neighbours part, rounding does too."""
    start, kernel = jnp.full(4, 0.5), kernel(target)
    with pytest.warns(pmc.SequentialFallbackWarning) as caught:
        # More strides than the budget has iterations, each of which finds one at least.
        solved = draw(kernel, 800, start, solver="parallel", window=800)
    steps = int(solved.stats.fallback_steps[0])
    assert 0 < steps < 800
    share = f"finished {steps} of 800 steps ({steps / 800:.1%})"
    assert any(share in str(warning.message) for warning in caught)
    np.testing.assert_allclose(edges(kernel, start, solved.position[0]), 0, atol=1e-6)
