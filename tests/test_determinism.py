"""The same key gives the same draws: bit for bit on one device, else to the tolerance."""

import hashlib
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc

HERE = pathlib.Path(__file__).parent


def logdensity(q):
    return -0.5 * (q["a"] ** 2 + jnp.sum((q["b"] - q["a"]) ** 2)) - 0.05 * jnp.sum(q["b"] ** 4)


KERNEL = pmc.hmc(logdensity, 0.35, None, 4)


def draw(solver, num_chains=2, window=25, key=None):
    shape = () if num_chains == 1 else (num_chains,)
    start = {"a": jnp.zeros(shape), "b": jnp.ones((*shape, 3))}
    return pmc.sample(
        jax.random.key(7) if key is None else key,
        KERNEL,
        start,
        100,
        num_chains=num_chains,
        solver=solver,
        window=window,
        progress_bar=False,
    )


def digests():
    """Return a hash of all the bits that each solver draws."""
    found = {}
    for solver in ("sequential", "parallel"):
        samples = draw(solver)
        leaves = jax.tree.leaves((samples.position, samples.info, samples.final_state))
        data = b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)
        found[solver] = hashlib.sha256(data).hexdigest()
    return found


def test_runs_are_equal_bit_for_bit():
    assert digests() == digests()


@pytest.mark.slow
def test_processes_are_equal_bit_for_bit():
    """With and without programs that an earlier process compiled."""
    here = digests()
    for cache in ("true", "false"):
        environment = os.environ | {
            "JAX_ENABLE_COMPILATION_CACHE": cache,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
        }
        there = subprocess.run(
            [sys.executable, "-c", "import test_determinism as t; print(t.digests())"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == str(here)


METHODS = {
    "suited": "parallel",
    "dense": pmc.deer(),
    "diagonal": pmc.quasi_deer(),
    "trust region": pmc.quasi_elk(),
}


@pytest.mark.parametrize(
    ("name", "window"),
    [("suited", 8)]
    + [pytest.param(name, 100, marks=pytest.mark.slow) for name in METHODS]
    + [pytest.param(name, 30, marks=pytest.mark.slow) for name in METHODS],
)
@pytest.mark.filterwarnings("ignore::parallel_mcmc.SequentialFallbackWarning")
@pytest.mark.slow
def test_windows_and_methods_agree_to_the_tolerance(x64, name, window):
    plain, solved = draw("sequential"), draw(METHODS[name], window=window)
    for field in ("position", "final_state"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7),
            getattr(solved, field),
            getattr(plain, field),
        )
    np.testing.assert_array_equal(solved.info.is_accepted, plain.info.is_accepted)


def test_a_chain_does_not_depend_on_the_others(x64):
    chains, key = draw("sequential", num_chains=2), jax.random.key(7)
    for chain, own in enumerate(jax.random.split(key, 2)):
        alone = draw("sequential", num_chains=1, key=own)
        jax.tree.map(
            lambda a, b, c=chain: np.testing.assert_allclose(a[0], b[c], atol=1e-9),
            alone.position,
            chains.position,
        )
