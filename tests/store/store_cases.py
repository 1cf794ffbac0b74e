"""Small runs with a checkpoint, whole and cut short."""

import contextlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.store import run
from parallel_mcmc.store.recorder import OnDisk

DRAWS = 70
EVERY = 16  # five segments, the last one shorter


def logdensity(q):
    return -0.5 * jnp.sum(q["a"] ** 2) - 0.5 * (q["b"] - 1.0) ** 4


START = {"a": jnp.array([0.3, -1.0]), "b": jnp.array(0.5)}


def several(count):
    """Return a start for each of several chains."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf * (1 + k) for k in range(count)]), START)


def kernel(step_size=0.4):
    return pmc.hmc(logdensity, step_size, None, 3)


def draw(path=None, **change):
    arguments = {
        "key": jax.random.key(3),
        "kernel": kernel(),
        "initial_position": START,
        "num_samples": DRAWS,
        "solver": "sequential",
        "progress_bar": False,
    } | change
    if path is not None:
        arguments = {"checkpoint": path, "checkpoint_every": EVERY} | arguments
    return pmc.sample(**arguments)


def begin(monkeypatch, path, **change):
    """Make a checkpoint, and draw nothing."""

    def ended(*_, **__):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(run, "run_segments", ended)
        with contextlib.suppress(Crash):
            draw(path, **change)


def copy_of_a_run(folder, path, monkeypatch, segments):
    """Return a copy of a run that crashed, made once for a folder."""
    original = folder / f"original after {segments}"
    if not original.exists():
        draw_and_crash(monkeypatch, original, segments)
    shutil.copytree(original, path)
    return path


class Crash(Exception):
    """Stands for whatever ends a process."""


def draw_and_crash(monkeypatch, path, segments, error=Crash, **change):
    """Draw until ``error`` ends it, after a number of whole segments."""
    record = OnDisk.record

    def limited(recorder, segment):
        if recorder.manifest.segments == segments:
            raise error
        record(recorder, segment)

    with monkeypatch.context() as patch:
        patch.setattr(OnDisk, "record", limited)
        with contextlib.suppress(Crash):
            return draw(path, **change)


def assert_same(samples, others):
    """Check that all is equal bit for bit, dtypes included."""
    for name in ("position", "info", "logdensity", "stats", "final_state", "step_size"):
        ours, theirs = getattr(samples, name), getattr(others, name)
        assert jax.tree.structure(ours) == jax.tree.structure(theirs), name
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
