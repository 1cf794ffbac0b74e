"""Random kernels, positions, keys, windows and safeguards: parallel equals sequential.

Examples are chosen by Hypothesis and are the same in every run; the slow tests try more of them.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import parallel_mcmc as pmc
from parallel_mcmc.numpyro import HMC, MALA, MCMC, RandomWalk

# Random step sizes need not fit.
pytestmark = pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")


def examples(count):
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        # The fixture sets a global option, the same for every example.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def logdensity(position):
    """A density that is not Gaussian, for positions of any structure of at least two numbers."""
    x = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(position)])
    return -0.5 * jnp.sum(x**2) - 0.1 * jnp.sum(x**4) - 0.2 * jnp.sum(x[1:] * x[:-1])


# Step sizes are data: only the kind of kernel compiles anew.
KERNELS = {
    "rmh": lambda e, metric: pmc.rmh(logdensity, e, metric),
    "mala": lambda e, metric: pmc.mala(logdensity, 0.5 * e, metric),
    "hmc": lambda e, metric: pmc.hmc(logdensity, e, metric, 3),
    "jittered hmc": lambda e, metric: pmc.hmc(logdensity, e, metric, pmc.UniformSteps(1, 4)),
    "smooth mala": lambda e, metric: pmc.mala(logdensity, 0.5 * e, metric, gate=pmc.SmoothGate()),
    "barker": lambda e, metric: pmc.barker(logdensity, e, metric),
    "adjusted mclmc": lambda e, metric: pmc.adjusted_mclmc(logdensity, e, metric, 2),
    "ula": lambda e, metric: pmc.ula(logdensity, 0.2 * e, metric),
    "underdamped": lambda e, metric: pmc.underdamped_langevin(logdensity, e, 1.0, metric),
    "mclmc": lambda e, metric: pmc.mclmc(logdensity, 2.0, e, metric),
    "cycle": lambda e, metric: pmc.cycle(
        [pmc.hmc(logdensity, e, metric, 2), pmc.rmh(logdensity, e, metric)]
    ),
}
# Shapes, by structure; all of four numbers, so that one metric fits.
POSITIONS = {
    "vector": (4,),
    "dictionary": {"b": (), "a": (3,)},
    "nested": {"a": [(2, 1), (1,)], "b": {"c": ((),)}},
    "tuple": ((1, 2), (2,)),
}
METRICS = {
    "none": None,
    "diagonal": np.array([0.5, 1.0, 1.5, 0.7]),
    "dense": np.eye(4) + 0.2 * np.ones((4, 4)),
}


@st.composite
def methods(draw):
    """Methods of every combination of safeguards; None is the one that suits the kernel."""
    if draw(st.booleans()):
        return None
    return pmc.Newton(
        draw(
            st.sampled_from(
                [pmc.Zero(), pmc.Identity(), pmc.Diagonal(), pmc.Diagonal(None), pmc.Dense()]
            )
        ),
        max_norm=draw(st.sampled_from([None, 0.7, pmc.LearnedCap()])),
        damping=draw(st.floats(0.3, 1.0)),
        radius=draw(st.sampled_from([None, 0.75])),
        trust_region=draw(st.sampled_from([None, pmc.LevenbergMarquardt(0.5)])),
    )


CASES = {
    "name": st.sampled_from(list(KERNELS)),
    "step_size": st.floats(0.05, 0.6),
    "structure": st.sampled_from(list(POSITIONS)),
    "metric": st.sampled_from(list(METRICS)),
    "dtype": st.sampled_from([jnp.float64, jnp.float32]),
    "num_chains": st.integers(1, 3),
    "num_samples": st.integers(1, 40),
    "window": st.integers(1, 50),
    "method": methods(),
    "seed": st.integers(0, 2**31 - 1),
    "is_legacy": st.booleans(),
}


def first_tie(info, margin):
    """Return the first draw of each chain that a rounding may decide, or the number of draws."""
    if hasattr(info, "infos"):
        return np.min([first_tie(part, margin) for part in info.infos], axis=0)
    num_chains, num_draws = jax.tree.leaves(info)[0].shape[:2]
    if not hasattr(info, "accept_margin"):
        return np.full(num_chains, num_draws)
    ties = np.asarray(info.accept_margin) < margin
    return np.where(ties.any(1), ties.argmax(1), num_draws)


def check_parallel_is_sequential(
    name,
    step_size,
    structure,
    metric,
    dtype,
    num_chains,
    num_samples,
    window,
    method,
    seed,
    is_legacy,
):
    kernel = KERNELS[name](step_size, METRICS[metric])
    key = (jax.random.PRNGKey if is_legacy else jax.random.key)(seed)
    leading = () if num_chains == 1 else (num_chains,)
    rng = np.random.default_rng(seed)
    start = jax.tree.map(
        lambda shape: jnp.asarray(0.5 * rng.normal(size=(*leading, *shape)), dtype),
        POSITIONS[structure],
        is_leaf=lambda x: isinstance(x, tuple) and all(isinstance(n, int) for n in x),
    )
    options = {"num_chains": num_chains, "progress_bar": False}
    plain = pmc.sample(key, kernel, start, num_samples, solver="sequential", **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", pmc.SequentialFallbackWarning)
        solved = pmc.sample(
            key, kernel, start, num_samples, solver=method or "parallel", window=window, **options
        )
    # What the loop had to finish is told, and nothing else is.
    told = any(issubclass(w.category, pmc.SequentialFallbackWarning) for w in caught)
    assert told == (solved.stats.fallback_steps > 0).any()
    assert jax.tree.structure(solved.position) == jax.tree.structure(start)
    precise = dtype == jnp.float64
    end = first_tie(plain.info, 1e-6 if precise else 1e-2)
    for a, b in zip(jax.tree.leaves(solved.position), jax.tree.leaves(plain.position), strict=True):
        assert a.dtype == b.dtype == dtype and a.shape == b.shape
        assert np.isfinite(b).all()
        for chain in range(num_chains):
            found, wanted = a[chain, : end[chain]], b[chain, : end[chain]]
            np.testing.assert_allclose(found, wanted, atol=1e-6 if precise else 1e-2)


@examples(2)
@given(**CASES)
def test_parallel_is_sequential(x64, **case):
    check_parallel_is_sequential(**case)


@pytest.mark.slow
@examples(40)
@given(**CASES)
def test_parallel_is_sequential_in_more_cases(x64, **case):
    check_parallel_is_sequential(**case)


# Thinning and what comes with it, through NumPyro.


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    with numpyro.plate("places", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


SAMPLERS = {
    "MALA": MALA(model, step_size=0.3),
    "HMC": HMC(model, step_size=0.2, num_steps=3),
    "RandomWalk": RandomWalk(model, step_size=0.4),
}
RUNS = {
    "name": st.sampled_from(list(SAMPLERS)),
    "num_samples": st.integers(1, 30),
    "thinning": st.integers(1, 30),
    "num_chains": st.integers(1, 3),
    "chain_method": st.sampled_from(["vectorized", "sequential"]),
    "window": st.integers(1, 40),
    "seed": st.integers(0, 2**31 - 1),
}


def check_runs_are_those_of_numpyro(
    name, num_samples, thinning, num_chains, chain_method, window, seed
):
    options = {
        "num_warmup": 0,
        "num_samples": num_samples,
        "num_chains": num_chains,
        "thinning": min(thinning, num_samples),
        "progress_bar": False,
    }
    y = np.array([0.3, -0.2, 1.1, 0.5])
    ours = MCMC(SAMPLERS[name], **options, solver="parallel", window=window)
    ours.warmup(jax.random.key(seed), y)
    plain = numpyro.infer.MCMC(SAMPLERS[name], **options, chain_method=chain_method)
    plain.post_warmup_state = ours.post_warmup_state
    for mcmc in (ours, plain):
        mcmc.run(jax.random.key(seed + 1), y, extra_fields=["accept_prob", "z.mu"])
    for get in ("get_samples", "get_extra_fields"):
        found, wanted = (getattr(m, get)(group_by_chain=True) for m in (ours, plain))
        assert found.keys() == wanted.keys()
        for field in wanted:
            assert found[field].shape == wanted[field].shape
            np.testing.assert_allclose(found[field], wanted[field], atol=1e-6)


@examples(2)
@given(**RUNS)
@pytest.mark.slow
def test_runs_are_those_of_numpyro(x64, **run):
    check_runs_are_those_of_numpyro(**run)


@pytest.mark.slow
@examples(15)
@given(**RUNS)
def test_more_runs_are_those_of_numpyro(x64, **run):
    check_runs_are_those_of_numpyro(**run)
