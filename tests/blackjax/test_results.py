import arviz as az
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.arviz import to_arviz
from parallel_mcmc.blackjax import run_inference_algorithm

CHAINS, DRAWS = 3, 40


def logdensity(position):
    return -0.5 * position["a"] ** 2 - 0.5 * jnp.sum(position["b"] ** 2)


def run(algorithm):
    def chain(key, position):
        return run_inference_algorithm(key, algorithm, DRAWS, initial_position=position)[1]

    start = {"a": jnp.zeros(CHAINS), "b": jnp.ones((CHAINS, 2))}
    return jax.vmap(chain)(jax.random.split(jax.random.key(0), CHAINS), start)


def test_several_chains():
    states, infos = run(blackjax.hmc(logdensity, 0.9, jnp.ones(3), 2))
    data = to_arviz((states, infos), coords={"place": ["here", "there"]}, dims={"b": ["place"]})
    assert data["posterior"]["b"].dims == ("chain", "draw", "place")
    np.testing.assert_array_equal(data["posterior"]["b"], states.position["b"])
    stats = data["sample_stats"]
    assert set(stats.data_vars) == {
        *("lp", "energy", "acceptance_rate", "diverging", "n_steps", "accepted")
    }
    np.testing.assert_array_equal(stats["lp"], states.logdensity)
    # The info has the energy of the proposal, which may not be that of the draw.
    np.testing.assert_array_equal(
        np.asarray(stats["energy"])[infos.is_accepted], infos.energy[infos.is_accepted]
    )
    assert data["posterior"].attrs["inference_library"] == "parallel_mcmc"
    assert list(az.summary(data).index) == ["a", "b[here]", "b[there]"]


def test_one_chain():
    states, infos = jax.tree.map(lambda leaf: leaf[0], run(blackjax.mala(logdensity, 0.3)))
    data = to_arviz((states, infos))
    assert data["posterior"]["b"].shape == (1, DRAWS, 2)
    assert set(data["sample_stats"].data_vars) == {"lp", "acceptance_rate", "accepted"}


def test_nuts():
    states, infos = run(blackjax.nuts(logdensity, 0.5, jnp.ones(3)))
    stats = to_arviz((states, infos))["sample_stats"]
    np.testing.assert_array_equal(stats["energy"], infos.energy)
    np.testing.assert_array_equal(stats["tree_depth"], infos.num_trajectory_expansions)
    np.testing.assert_array_equal(stats["n_steps"], infos.num_integration_steps)
    # The kinetic energy, which is positive, comes on top.
    assert (stats["energy"] + stats["lp"] > 0).all()


def test_what_is_no_history():
    algorithm = blackjax.mala(logdensity, 0.3)
    states, infos = run(algorithm)
    with pytest.raises(ValueError, match="one leading axis, of draws, or two"):
        to_arviz((algorithm.init({"a": 0.0, "b": jnp.zeros(2)}), infos))
    for wrong in [(states,), (states.position, infos), (states, infos, infos)]:
        with pytest.raises(TypeError, match="samples must be a pair of BlackJAX's states"):
            to_arviz(wrong)
    with pytest.raises(ValueError, match="log_likelihood must be a dictionary"):
        to_arviz((states, infos), log_likelihood=True)
