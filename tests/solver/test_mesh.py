"""One chain over eight devices of the host: the states of one device, by small messages."""

import json
import os
import pathlib
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc

PACKAGE = pathlib.Path(pmc.__file__).parents[1]
WORKER = pathlib.Path(__file__).with_name("mesh_worker.py")
# In a short run; the others take minutes.
SHORT = ("diagonal", "dense", "surrogate", "collectives dense")
LONG = (
    "zero",
    "sweep",
    "block",
    "1x8",
    "2x4",
    "61 steps",
    "3 steps",
    "placed",
    "scale",
    "guess",
    "tree",
)
REST = (
    "budget",
    "chaos",
    "chains 2x4 by axis",
    "chains 8",
    "gradient",
    "collectives dense",
    "collectives dense long",
    "collectives sweep",
    "collectives diagonal",
    "collectives observed scale",
)


ONE = jax.sharding.Mesh(jax.devices()[:1], ("time",))


def halve(x, u):
    return 0.5 * x + u


def test_a_mesh_of_one_device():
    inputs = jnp.arange(30.0).reshape(10, 3)
    here = pmc.solve(halve, jnp.ones(3), inputs)
    there = pmc.solve(halve, jnp.ones(3), inputs, mesh=ONE)
    assert bool(there.converged) and int(there.iterations) == int(here.iterations)
    assert int(there.evaluations) == int(here.evaluations)
    np.testing.assert_allclose(there.states, here.states, rtol=1e-6)


def test_a_window_that_slides_and_a_trust_region_are_refused():
    with pytest.raises(ValueError, match="window must be None or all 10 steps if mesh is given"):
        pmc.solve(halve, jnp.ones(3), jnp.ones((10, 3)), mesh=ONE, window=4)
    with pytest.raises(ValueError, match="method must have no trust_region if mesh is given"):
        pmc.solve(halve, jnp.ones(3), jnp.ones((10, 3)), mesh=ONE, method=pmc.elk())


def run(*names):
    environment = os.environ | {
        "PYTHONPATH": str(PACKAGE),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "true",
    }
    done = subprocess.run(
        [sys.executable, str(WORKER), *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def short():
    return run(*SHORT)


@pytest.fixture(scope="module")
def rest():
    return run(*REST)


def check(case):
    assert case["error"] < 1e-9 and case["loop"] < 2e-9
    here, there = case["iterations"]
    # A random model draws other probes on every device.
    assert abs(here - there) <= 2
    assert case["fallback"] == [0, 0]


def test_states_are_those_of_one_device(short):
    for name in ("diagonal", "dense", "surrogate"):
        check(short[name])


@pytest.mark.slow
def test_any_method_mesh_and_length_gives_the_states_of_one_device():
    for case in run(*LONG).values():
        check(case)


@pytest.mark.slow
def test_what_is_left_is_finished_by_one_device_after_the_other(rest):
    for case, left in zip(rest["budget"], (63, 59, 52), strict=True):
        assert max(case["error"], case["loop"]) < 1e-15
        assert case["fallback"] == [left, left]


@pytest.mark.slow
def test_chaos_is_noticed_as_on_one_device(rest):
    case = rest["chaos"]
    assert case["fallback"] == [190, 190]
    assert case["growth"][1] == pytest.approx(case["growth"][0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chains 2x4 by axis", "chains 8"])
def test_chains_are_mapped(rest, name):
    assert rest[name] < 1e-9


@pytest.mark.slow
def test_derivatives_are_those_of_one_device(rest):
    assert rest["gradient"] < 1e-9


DIM = 4
STATE, NUMBER = f"f64[{DIM}]", "f64[1]"
# The states that the spread of the iterate is judged by.
SAMPLE = ("all-gather", f"f64[256,{DIM}]")
# A matrix and a vector, or a diagonal and a vector, of every device.
DENSE = ("all-gather", f"f64[8,{DIM * DIM + DIM}]")
DIAGONAL = ("all-gather", f"f64[8,{2 * DIM}]")
PASSED = ("collective-permute", STATE)
# What a Newton iteration sends whatever the method. A state is passed on in two places: after an
# iteration, and at the next block's turn in the loop that finishes what is left; and once before.
ALWAYS = Counter(
    {
        SAMPLE: 1,
        PASSED: 3,
        ("collective-permute", NUMBER): 1,
        ("all-reduce", "s64[2]"): 1,
        ("all-reduce", "f64[2]"): 1,
    }
)
# The growth of errors is judged once, after ten iterations.
DENSE_GROWTH = ("all-gather", f"f64[8,{DIM * DIM + 1}]")
DIAGONAL_GROWTH = ("all-reduce", STATE)


def sent(found):
    return Counter((kind, shape) for kind, shape, _ in found)


def test_an_iteration_gathers_one_carry_and_passes_one_state(short):
    found = short["collectives dense"]
    assert sent(found) == ALWAYS + Counter([DENSE, DENSE_GROWTH])
    iteration = next(place for kind, shape, place in found if (kind, shape) == DENSE)
    within = Counter((kind, shape) for kind, shape, place in found if place == iteration)
    assert within[DENSE] == within[PASSED] == 1


@pytest.mark.slow
def test_messages_do_not_grow_with_the_chain(rest):
    assert sent(rest["collectives dense"]) == sent(rest["collectives dense long"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["collectives sweep", "collectives diagonal"])
def test_every_solve_of_the_recurrence_gathers_once(rest, name):
    # The second solve is that of the sweep, or of the secant.
    assert sent(rest[name]) == ALWAYS + Counter([DIAGONAL, DIAGONAL, DIAGONAL_GROWTH])


@pytest.mark.slow
def test_an_observed_scale_costs_a_gather_and_a_sum_of_one_vector(rest):
    more = Counter([("all-gather", f"f64[8,{DIM}]"), ("all-reduce", STATE)])
    assert sent(rest["collectives observed scale"]) == sent(rest["collectives dense"]) + more
