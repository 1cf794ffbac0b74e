"""Problems that a solver is chosen for, and what the calls of a trial run."""

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc._tree import num_steps
from parallel_mcmc.choice import auto, cpu, measure, step_times

LARGE = 100_000
"""Rows whose reading is more than the caches of the CPU of these tests hold."""


def problem(rows, num_samples=4000, dim=2):
    """A log density that is flat in one direction, so that chains do not meet."""
    data = jnp.ones((rows, dim))

    def logdensity(x):
        return -0.5 * jnp.sum((data @ x) ** 2) / rows

    kernel = pmc.mala(logdensity, 0.3)
    states = jax.tree.map(lambda leaf: leaf[None], kernel.init(jnp.zeros(dim)))
    return kernel, states, jax.random.split(jax.random.key(0), (1, num_samples))


def gaussian(num_samples=4000, chains=1, step_size=0.3):
    """A small problem whose chains meet."""
    kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), step_size)
    states = jax.vmap(kernel.init)(jnp.zeros((chains, 2)))
    return kernel, states, jax.random.split(jax.random.key(0), (chains, num_samples))


def chains_of(run):
    """Return how many chains a call runs side by side."""
    starts = run.args[2]
    return num_steps(starts)


def is_of_lanes(run):
    """Tell the lanes from the loop: all of them begin at the same state."""
    positions = np.asarray(run.args[2].position)
    return len(positions) > 1 and bool(np.all(positions == positions[0]))


def with_clock(monkeypatch):
    """Return what replaces the clock by the seconds of a step, one in a batch and one in parallel.

    Nothing is remembered of earlier tests, and the caches of the CPU are small.
    """
    monkeypatch.setattr(cpu, "SMALL_TRAFFIC", 1e6)
    monkeypatch.setattr(auto, "_remembered", type(auto._remembered)())

    def setting(one, batch, solved=None):
        calls = []

        def timed(run, *args):
            calls.append((run, *args))
            keys = len(args[-1])
            if run is measure.evaluate_batch:
                return None, batch * keys
            return None, solved * keys

        def clocked(run, steps):
            calls.append((run, steps))
            count = chains_of(run)
            of_lanes = batch(count) if callable(batch) else batch
            each = of_lanes if is_of_lanes(run) else one
            # A call takes a while by itself.
            return run(steps), each * count * steps + 7.0

        monkeypatch.setattr(measure, "timed_apart", timed)
        monkeypatch.setattr(step_times, "clocked", clocked)
        return calls

    return setting
