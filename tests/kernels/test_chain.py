import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels import chain as module
from parallel_mcmc.kernels.chain import (
    LARGE_DATA,
    InLanes,
    Parallel,
    Sequential,
    lane_foresight,
    run_chains,
)
from parallel_mcmc.kernels.mala import MALA


def test_windows_advance_chain_by_chain(x64):
    """In a batch every chain has the window, the iterations and the states that it has alone."""

    def logdensity(x):
        return -jnp.sum(jnp.log(jnp.cosh(x)))

    kernel = pmc.mala(logdensity, 0.2)
    # One chain starts at the mode, one far out.
    positions = jnp.array([[0.0, 0.0], [60.0, -60.0], [1.0, 2.0]])
    keys = jax.random.split(jax.random.key(0), (3, 300))
    states = jax.vmap(kernel.init)(positions)

    def run(state, keys):
        # With every state unknown they differ the most.
        method = pmc.Newton(pmc.Surrogate(), stride=1)
        return Parallel(method, 16).run(kernel, state, keys)

    batch = jax.jit(jax.vmap(run))(states, keys)
    alone = jax.lax.map(lambda chain: run(*chain), (states, keys))
    np.testing.assert_array_equal(batch.stats.iterations, alone.stats.iterations)
    assert len(np.unique(batch.stats.iterations)) == 3
    np.testing.assert_array_equal(
        batch.stats.gradient_evaluations, alone.stats.gradient_evaluations
    )
    np.testing.assert_allclose(batch.states.position, alone.states.position, atol=1e-12)
    assert batch.stats.converged.all()


def test_lanes_of_several_chains_are_one_batch(x64):
    kernel = pmc.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.3, jnp.ones(2), 5)
    states = jax.vmap(kernel.init)(jnp.array([[0.0, 0.0], [3.0, -1.0], [1.0, 2.0]]))
    keys = jax.random.split(jax.random.key(0), (3, 400))
    together = jax.jit(run_chains)(InLanes(4, 400), kernel, states, keys)
    plain = jax.jit(run_chains)(Sequential(), kernel, states, keys)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8),
        (together.states, together.info.is_accepted),
        (plain.states, plain.info.is_accepted),
    )
    # A first round of 100 steps and a second of fewer than 40, of 5 gradients each.
    evaluations = together.stats.gradient_evaluations
    assert together.stats.iterations.tolist() == [2, 2, 2]
    assert len(set(evaluations.tolist())) == 1
    assert 400 * 5 < evaluations[0] < 1.4 * 400 * 5
    alone = InLanes(4, 400).run(kernel, jax.tree.map(lambda leaf: leaf[1], states), keys[1])
    np.testing.assert_allclose(alone.states.position, plain.states.position[1], atol=1e-8)


def test_lanes_in_windows(x64):
    kernel = pmc.hmc(lambda x: -0.5 * jnp.sum(x**2), 0.3, jnp.ones(2), 5)
    state = jax.tree.map(lambda leaf: leaf[None], kernel.init(jnp.zeros(2)))
    keys = jax.random.split(jax.random.key(0), (1, 500))
    plain = run_chains(Sequential(), kernel, state, keys)
    solved = run_chains(InLanes(3, 210), kernel, state, keys)
    np.testing.assert_allclose(solved.states.position, plain.states.position, atol=1e-8)
    assert solved.stats.converged.all() and solved.stats.iterations[0] >= 6


def funnel(x):
    return -0.5 * x[0] ** 2 - 0.5 * jnp.sum(x[1:] ** 2 * jnp.exp(-x[0])) - x[0]


@pytest.mark.parametrize(
    ("logdensity", "largest"),
    [(lambda x: -0.5 * jnp.sum(x**2) - 1e-4 * jnp.sum(x**4), 0.7), (funnel, 1.02)],
)
def test_lanes_of_mala_begin_where_a_model_leads_if_it_is_right(
    x64, monkeypatch, logdensity, largest
):
    monkeypatch.setattr(module, "LARGE_DATA", -1)
    kernel = pmc.mala(logdensity, 0.2)
    states = jax.tree.map(lambda leaf: leaf[None], kernel.init(jnp.zeros(3)))
    keys = jax.random.split(jax.random.key(0), (1, 4000))

    def again(foresight):
        monkeypatch.setattr(MALA, "foresight", foresight)
        chain = run_chains(InLanes(8, 4000), kernel, states, keys)
        assert chain.stats.converged.all()
        return chain.states.position, float(chain.stats.gradient_evaluations[0] - 4000)

    (seen, few), (unseen, many) = again(64), again(0)
    np.testing.assert_allclose(seen, unseen, atol=1e-7)
    assert few <= largest * many, (few, many)


def test_the_last_lanes_are_a_smaller_batch_where_data_are_large(x64, monkeypatch):
    kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.2)
    states = jax.vmap(kernel.init)(jnp.array([[0.0, 0.0], [3.0, -1.0]]))
    keys = jax.random.split(jax.random.key(0), (2, 4000))
    monkeypatch.setattr(module, "LARGE_DATA", -1)
    # By one draw they begin elsewhere.
    monkeypatch.setattr(MALA, "foresight", 1)

    def made(share):
        monkeypatch.setattr(module, "LAST_LANES", share)
        chain = run_chains(InLanes(8, 4000), kernel, states, keys)
        assert chain.stats.converged.all()
        return chain.states.position, int(chain.stats.gradient_evaluations[0])

    (expected, most), (found, fewer) = made(1), made(4)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert 4000 < fewer < most


@pytest.mark.parametrize(
    ("kind", "rows", "pays"), [("mala", 1.1, 1), ("mala", 0.9, 0), ("hmc", 2, 0)]
)
def test_starts_of_lanes_are_guessed_where_data_are_large(kind, rows, pays):
    """Of the kernel whose chains take long to meet."""
    design = jnp.ones((int(rows * LARGE_DATA / 40), 10), jnp.float32)

    def logdensity(x):
        return -0.5 * jnp.sum((design @ x - 1) ** 2) - 0.5 * jnp.sum(x**2)

    kernel = {
        "mala": pmc.mala(logdensity, 0.2),
        "hmc": pmc.hmc(logdensity, 0.2, jnp.ones(10), 3),
    }[kind]
    bound = kernel.bind(jnp.zeros(10))
    state = jax.eval_shape(lambda: bound.enter(kernel.init(jnp.zeros(10))))
    keys = jax.random.split(jax.random.key(0), (2, 3))
    assert lane_foresight(bound, state, keys) == pays * MALA.foresight
