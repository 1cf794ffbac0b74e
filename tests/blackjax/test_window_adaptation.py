import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.blackjax import window_adaptation

KEY = jax.random.key(0)
POSITION = {"a": jnp.ones(3), "b": 1.0}


def logdensity(x):
    return -0.5 * jnp.sum((x["a"] / jnp.array([0.1, 1.0, 10.0])) ** 2) - 0.5 * (x["b"] - 1) ** 2


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("hmc", (False,), {"num_integration_steps": 5, "target_acceptance_rate": 0.7}),
        ("nuts", (), {}),
    ],
)
def test_parameters_are_those_of_blackjax(x64, name, arguments, options):
    algorithm = getattr(blackjax, name)
    ours, theirs = (
        adapt(algorithm, logdensity, *arguments, **options).run(KEY, POSITION, num_steps=120)
        for adapt in (window_adaptation, blackjax.window_adaptation)
    )
    assert type(ours[0]) is type(theirs[0])
    assert type(ours[1]) is type(theirs[1])
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    # Plain numbers stay so: the algorithm is to be called with them.
    assert [type(v) for v in ours[0].parameters.values() if not isinstance(v, jax.Array)] == [
        type(v) for v in theirs[0].parameters.values() if not isinstance(v, jax.Array)
    ]
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_traces_once_for_each_adaptation():
    traces = []

    def counted(x):
        traces.append(x)
        return logdensity(x)

    warmup = window_adaptation(blackjax.hmc, counted, num_integration_steps=3)
    warmup.run(KEY, POSITION, 30)
    count = len(traces)
    warmup.run(jax.random.key(1), POSITION, 30)
    assert len(traces) == count


def test_under_vmap():
    warmup = window_adaptation(blackjax.hmc, logdensity, num_integration_steps=3)
    keys = jax.random.split(KEY, 2)
    (state, parameters), _ = jax.vmap(lambda key: warmup.run(key, POSITION, 30))(keys)
    assert state.position["a"].shape == (2, 3)
    assert parameters["step_size"].shape == (2,)


@pytest.mark.parametrize(
    ("error", "message", "algorithm", "target"),
    [
        (TypeError, "algorithm must be a BlackJAX algorithm", pmc.hmc, logdensity),
        (TypeError, "logdensity_fn must be callable", blackjax.hmc, 1.0),
    ],
)
def test_rejects(error, message, algorithm, target):
    with pytest.raises(error, match=message):
        window_adaptation(algorithm, target)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "rng_key must be", {"rng_key": 0}),
        (ValueError, "num_steps must be", {"num_steps": 0}),
    ],
)
def test_run_rejects(error, message, change):
    warmup = window_adaptation(blackjax.hmc, logdensity, num_integration_steps=3)
    with pytest.raises(error, match=message):
        warmup.run(**({"rng_key": KEY, "position": POSITION, "num_steps": 30} | change))
