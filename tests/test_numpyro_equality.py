"""The parallel MCMC draws what plain numpyro.infer.MCMC draws with the same kernel and key."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import NUTS
from numpyro.util import is_prng_key

from parallel_mcmc.numpyro import HMC, MALA, MCMC, RandomWalk


def data():
    # A new array: JAX remembers the dtype that an array had in double precision.
    return np.array([1.2, -0.4, 2.2, 0.9, 1.7, 0.1, 1.0, 1.5])


KERNELS = {
    "HMC": lambda model: HMC(model, num_steps=4),
    "HMC of a length": lambda model: HMC(model, trajectory_length=1.5, dense_mass=False),
    "MALA": MALA,
    "random walk": RandomWalk,
}
# Without a warmup the steps need not fit where the chains start.
UNTUNED = pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
SLOW = ["HMC of a length", "MALA", "random walk"]
FIELDS = [
    "accept_margin",
    "accept_prob",
    "adapt_state.inverse_mass_matrix",
    "adapt_state.mass_matrix_sqrt",
    "adapt_state.step_size",
    "energy",
    "i",
    "mean_accept_prob",
    "num_steps",
    "potential_energy",
    "z.sigma",
]


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(5.0))
    numpyro.deterministic("ratio", mu / sigma)
    with numpyro.plate("places", len(y)):
        numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def values(tree):
    def plain(leaf):
        return (
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )

    return jax.tree.map(plain, tree)


def assert_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6),
        values(actual),
        values(expected),
    )


def options(kernel, **changes):
    return {
        "sampler": kernel,
        "num_warmup": 100,
        "num_samples": 200,
        "num_chains": 4,
        "thinning": 3,
        "progress_bar": False,
        **changes,
    }


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in KERNELS]
)
def test_all_draws_equal_those_of_plain_numpyro(x64, name):
    kernel = KERNELS[name](model)
    fields = FIELDS if name == "random walk" else [*FIELDS, "z_grad"]
    ours = MCMC(**options(kernel), solver="parallel", window=50)
    ours.warmup(jax.random.key(0), data())
    warm = ours.post_warmup_state
    ours.run(jax.random.key(1), data(), extra_fields=fields)
    assert (ours.samples.stats.iterations > 0).all()
    assert (ours.samples.stats.fallback_steps == 0).all()
    for method in ["vectorized", "sequential"]:
        plain = numpyro.infer.MCMC(**options(kernel), chain_method=method)
        plain.post_warmup_state = warm
        plain.run(jax.random.key(1), data(), extra_fields=fields)
        samples = ours.get_samples(group_by_chain=True)
        assert samples["mu"].shape == (4, 66) and samples["mu"].dtype == np.float64
        assert_equal(samples, plain.get_samples(group_by_chain=True))
        assert_equal(
            ours.get_extra_fields(group_by_chain=True), plain.get_extra_fields(group_by_chain=True)
        )
        assert_equal(ours.last_state, plain.last_state)


@UNTUNED
@pytest.mark.parametrize("chain_method", ["vectorized", "sequential", "parallel", jax.vmap])
def test_chain_method_changes_nothing(chain_method):
    kernel = MALA(model, step_size=0.2)
    mcmc = MCMC(**options(kernel, num_warmup=0), chain_method=chain_method)
    mcmc.run(jax.random.key(0), data())
    reference = MCMC(**options(kernel, num_warmup=0))
    reference.run(jax.random.key(0), data())
    assert_equal(mcmc.get_samples(), reference.get_samples())
    assert mcmc.chain_method == chain_method


@pytest.mark.slow
def test_one_chain_with_a_legacy_key(x64):
    kernel = HMC(model)
    ours = MCMC(**options(kernel, num_chains=1), solver="parallel")
    ours.warmup(jax.random.PRNGKey(0), data())
    plain = numpyro.infer.MCMC(**options(kernel, num_chains=1))
    plain.post_warmup_state = ours.post_warmup_state
    for mcmc in [ours, plain]:
        mcmc.run(jax.random.PRNGKey(1), data(), extra_fields=["energy"])
    assert_equal(ours.get_samples(), plain.get_samples())
    assert_equal(ours.get_extra_fields(), plain.get_extra_fields())
    assert is_prng_key(ours.last_state.rng_key)


@UNTUNED
@pytest.mark.parametrize("kernel", [MALA, RandomWalk])
def test_runs_continue_each_other(x64, kernel):
    """NumPyro's loop goes on from our last state and we from its, as one long run."""
    kernel = kernel(model, step_size=0.2)
    once = MCMC(**options(kernel, num_warmup=0, thinning=1, num_samples=300))
    once.run(jax.random.key(0), data(), extra_fields=["mean_accept_prob"])
    parts = []
    ours = MCMC(**options(kernel, num_warmup=0, thinning=1, num_samples=100))
    plain = numpyro.infer.MCMC(
        **options(kernel, num_warmup=0, thinning=1, num_samples=100), chain_method="vectorized"
    )
    ours.run(jax.random.key(0), data())
    parts.append(ours.get_samples(group_by_chain=True)["mu"])
    for before, mcmc in [(ours, plain), (plain, ours)]:
        mcmc.post_warmup_state = before.last_state
        mcmc.run(mcmc.post_warmup_state.rng_key, data(), extra_fields=["mean_accept_prob"])
        parts.append(mcmc.get_samples(group_by_chain=True)["mu"])
    assert_equal(jnp.concatenate(parts, axis=1), once.get_samples(group_by_chain=True)["mu"])
    assert_equal(
        ours.get_extra_fields(group_by_chain=True)["mean_accept_prob"],
        once.get_extra_fields(group_by_chain=True)["mean_accept_prob"][:, 200:],
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
def test_chains_with_kernels_of_their_own(x64):
    """NumPyro's sequential chains have each their own warmup."""
    kernel = HMC(model, num_steps=5)
    plain = numpyro.infer.MCMC(**options(kernel, num_warmup=50), chain_method="sequential")
    plain.warmup(jax.random.key(0), data())
    step_sizes = plain.post_warmup_state.adapt_state.step_size
    assert len(np.unique(step_sizes)) == 4
    plain.run(jax.random.key(1), data())
    ours = MCMC(**options(kernel, num_warmup=50))
    ours.post_warmup_state = plain.post_warmup_state
    ours.run(jax.random.key(1), data())
    assert_equal(ours.get_samples(), plain.get_samples())
    assert_equal(ours.last_state, plain.last_state)


@pytest.mark.slow
def test_another_kernel_runs_as_in_numpyro():
    def arguments():
        # NumPyro's kernels change when they are used, and cannot be shared.
        return options(NUTS(model), num_chains=2, thinning=2) | {"chain_method": "vectorized"}

    with pytest.warns(UserWarning, match=r"numpyro.infer.hmc.NUTS is not a kernel of parallel_"):
        ours = MCMC(**arguments())
    plain = numpyro.infer.MCMC(**arguments())
    for mcmc in [ours, plain]:
        mcmc.warmup(jax.random.key(0), data(), collect_warmup=True)
    assert_equal(ours.get_samples(), plain.get_samples())
    for mcmc in [ours, plain]:
        mcmc.run(jax.random.key(1), data(), extra_fields=["r", "energy"])
    assert_equal(ours.get_samples(), plain.get_samples())
    assert_equal(ours.get_extra_fields(), plain.get_extra_fields())
    ours.post_warmup_state = plain.last_state
    assert ours.post_warmup_state is plain.last_state


def test_within_jit_numpyro_draws_the_chains():
    @jax.jit
    def draw(key, y, step_size):
        kernel = HMC(model, step_size=step_size, trajectory_length=1.0)
        mcmc = MCMC(**options(kernel, num_chains=2, thinning=1))
        mcmc.run(key, y)
        return mcmc.get_samples(group_by_chain=True)

    samples = draw(jax.random.key(0), jnp.asarray(data()), 0.5)
    assert samples["mu"].shape == (2, 200)
    error = samples["mu"].std() / np.sqrt(50)
    assert abs(samples["mu"].mean() - data().mean()) < 4 * error
