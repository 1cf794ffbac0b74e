"""Groups of chains: which is drawn next, what all of them have in the end, and when interrupted."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc import segments
from parallel_mcmc.kernels.chain import Parallel, Sequential
from parallel_mcmc.placement.base import ON_ONE_DEVICE
from parallel_mcmc.recording import InMemory

CHAINS, DRAWS = 3, 100
PARTS = 5  # segments of a chain


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


START = jax.random.normal(jax.random.key(1), (CHAINS, 2))


def draw(**change):
    arguments = {
        "key": jax.random.key(0),
        "kernel": pmc.hmc(logdensity, 0.5, jnp.ones(2), 3),
        "initial_position": START,
        "num_samples": DRAWS,
        "num_chains": CHAINS,
        "solver": "parallel",
        "window": 10,
        "progress_bar": False,
    } | change
    return pmc.sample(**arguments)


@pytest.fixture
def order(monkeypatch):
    """Which chain was recorded, one after the other; the second one is slow by the clock."""
    order, recorders, now = [], [], [0.0]

    class Clocked(InMemory):
        def __init__(self):
            super().__init__()
            recorders.append(self)

        def record(self, segment):
            super().record(segment)
            order.append(recorders.index(self) % CHAINS)
            now[0] += 100.0 if order[-1] == 1 else 1.0

    clock = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(segments, "time", clock)
    monkeypatch.setattr("parallel_mcmc.sampling.InMemory", Clocked)
    monkeypatch.setattr("parallel_mcmc.sampling.SHORTEST_QUIET_SEGMENT", DRAWS // PARTS)
    return order


def test_the_others_are_drawn_to_their_end_before_a_slow_chain_goes_on(order):
    samples = draw()
    assert order[:3] == [0, 1, 2]
    assert order[-4:] == [1] * 4
    assert all(order.count(chain) == PARTS for chain in range(CHAINS))
    assert samples.position.shape == (CHAINS, DRAWS, 2)


def test_the_plain_loop_draws_all_chains_at_once(order):
    draw(solver="sequential")
    assert order == [0] * PARTS


def test_every_chain_is_the_one_that_it_is_alone():
    samples = draw()
    keys = jax.random.split(jax.random.key(0), CHAINS)
    for chain in range(CHAINS):
        alone = draw(key=keys[chain], num_chains=1, initial_position=START[chain])
        for name in ("position", "info", "logdensity", "final_state"):
            ours, theirs = getattr(samples, name), getattr(alone, name)
            for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_array_equal(a[chain], b[0], err_msg=name)
        assert samples.stats.iterations[chain] == alone.stats.iterations[0]


def test_all_chains_are_one_program():
    kernel = pmc.rmh(lambda x: -0.5 * jnp.sum(x**2), 0.5)
    before = segments._run_segment._cache_size()
    draw(kernel=kernel)
    assert segments._run_segment._cache_size() == before + 1


@pytest.mark.parametrize(
    ("runner", "groups"),
    [
        (Parallel(None, 10), (slice(0, 1), slice(1, 2), slice(2, 3))),
        (Sequential(), (slice(0, 3),)),
    ],
)
def test_groups(runner, groups):
    assert ON_ONE_DEVICE.groups(runner, 3) == groups


def test_an_accelerator_draws_all_chains_at_once(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert ON_ONE_DEVICE.groups(Parallel(None, 10), 3) == (slice(0, 3),)


def interrupted_after(monkeypatch, order, count):
    run = segments._run_segment

    def limited(*arguments):
        if len(order) == count:
            raise KeyboardInterrupt
        return run(*arguments)

    monkeypatch.setattr(segments, "_run_segment", limited)


@pytest.mark.parametrize(("count", "fewest"), [(3, 1), (11, 1), (13, 3)])
def test_an_interrupt_returns_what_every_chain_has(monkeypatch, order, count, fewest):
    whole = draw()
    order.clear()
    with monkeypatch.context() as patch:
        interrupted_after(patch, order, count)
        drawn = fewest * DRAWS // PARTS
        with pytest.warns(pmc.InterruptedWarning, match=f"after {drawn} of {DRAWS} draws"):
            partial = draw()
    np.testing.assert_array_equal(partial.position, whole.position[:, :drawn])
    np.testing.assert_array_equal(partial.final_state.position, whole.position[:, drawn - 1])


def test_an_interrupt_before_every_chain_has_draws_is_one(monkeypatch, order):
    interrupted_after(monkeypatch, order, 2)
    with pytest.raises(KeyboardInterrupt):
        draw()


@pytest.mark.parametrize(
    ("num_chains", "count"), [(1, 1), (16, 16), (17, 1), (18, 9), (64, 16), (100, 10)]
)
def test_many_chains_are_in_at_most_sixteen_groups(monkeypatch, num_chains, count):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    groups = ON_ONE_DEVICE.groups(Parallel(None, 10), num_chains)
    assert len(groups) == count
    chains = [chain for group in groups for chain in range(num_chains)[group]]
    assert chains == list(range(num_chains))
    assert len({group.stop - group.start for group in groups}) == 1


def test_one_progress_bar_counts_the_draws_of_all_groups(monkeypatch):
    bars = []

    class Bar:
        def __init__(self, **options):
            self.options, self.count = options, options["initial"]
            bars.append(self)

        def update(self, count):
            self.count += count

        def close(self):
            pass

    monkeypatch.setattr(segments, "tqdm", Bar)
    draw(progress_bar=True)
    (bar,) = bars
    assert bar.count == bar.options["total"] == CHAINS * DRAWS
