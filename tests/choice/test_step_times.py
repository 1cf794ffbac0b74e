import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.choice import step_times
from parallel_mcmc.choice.step_times import steady_step_times


def test_what_a_call_takes_is_no_part_of_a_step(x64, monkeypatch):
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    state = kernel.init(jnp.zeros(3))
    keys = jax.random.split(jax.random.key(0), 20)
    calls = []

    def clocked(run, steps):
        calls.append(steps)
        # The first call compiles, and the first step is slow; others differ by a second.
        slow = 100.0 if calls.count(steps) == 1 and steps < 20 else 0.0
        return run(steps), slow + 5.0 + 0.5 * steps + len(calls) % 3

    monkeypatch.setattr(step_times, "clocked", clocked)
    taken = step_times.step_time(kernel, state, keys, 20, 4, 4)
    assert calls == [0] * (1 + step_times.IDLE_CALLS) + [1] + [20] * 4
    # The idle calls took 7, 5, 6, 7 and 5 seconds, the others 17, 15, 16 and 17.
    assert taken == pytest.approx(((15 - 5) / 20, (6 - 5) / 20))


def test_steady_times_are_those_of_a_machine_that_has_settled(monkeypatch):
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    state = kernel.init(jnp.zeros(3))
    keys = jax.random.split(jax.random.key(0), 6)
    calls = []

    def clocked(run, steps):
        count = len(run.args[2].position)
        rounds = calls.count((count, steps))
        calls.append((count, steps))
        # Idle calls differ, and one of the later ones is slow by other work.
        seconds = 5.0 + [9.0, 0.0, 1.0, 2.0, 0.0, 1.0][rounds] if steps == 0 else 6.0
        slow = 3.0 if rounds < 4 else 200.0 if rounds == 5 else 1.0
        return run(steps), seconds + slow * steps / count

    monkeypatch.setattr(step_times, "clocked", clocked)
    one, four = steady_step_times(kernel, state, [(1, keys, 6), (4, keys, 2)], 1480.0)
    assert calls == [(1, 0)] * 6 + [(4, 0)] * 6 + [(1, 6), (4, 2)] * 8
    assert one == pytest.approx((1.0, 0.0)) and four == pytest.approx((0.25, 0.0))


def test_time_is_that_of_a_compiled_call():
    def run(steps):
        calls.append(steps)
        return jnp.zeros(3) + steps

    calls = []
    idle = step_times.idle_seconds(run)
    assert len(idle) == step_times.IDLE_CALLS and all(0 < seconds < 1 for seconds in idle)
    assert calls == [0] * (1 + step_times.IDLE_CALLS)
    result, seconds = step_times.clocked(run, 4)
    np.testing.assert_array_equal(result, 4)
    assert calls[-1] == 4 and 0 < seconds < 1
