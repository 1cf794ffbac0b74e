"""One chain over eight devices of the host: the states of one device, by small messages."""

import pathlib
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import workers

import parallel_mcmc as pmc

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
WINDOWS = ("windows", "windows that do not divide", "windows 2x4")
REST = (
    "budget",
    "budget in windows",
    "chaos",
    "exact",
    "chains 2x4 by axis",
    "chains 8",
    "gradient",
    "collectives dense",
    "collectives dense long",
    "collectives sweep",
    "collectives diagonal",
    "collectives observed scale",
    "collectives 2x4",
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


def test_windows_on_a_mesh_of_one_device():
    inputs = jnp.arange(30.0).reshape(10, 3)
    here = pmc.solve(halve, jnp.ones(3), inputs, window=4)
    there = pmc.solve(halve, jnp.ones(3), inputs, mesh=ONE, window=4)
    assert bool(there.converged)
    np.testing.assert_allclose(there.states, here.states, rtol=1e-6)


def test_a_trust_region_is_refused():
    with pytest.raises(ValueError, match="method must have no trust_region if mesh is given"):
        pmc.solve(halve, jnp.ones(3), jnp.ones((10, 3)), mesh=ONE, method=pmc.elk())


def run(*names):
    return workers.results(WORKER, *names)


@pytest.fixture(scope="module")
def short():
    return run(*SHORT)


@pytest.fixture(scope="module")
def rest():
    return run(*REST)


def check(case, more_iterations=2):
    assert case["error"] < 1e-9 and case["loop"] < 2e-9
    here, there = case["iterations"]
    # A random model draws other probes on every device.
    assert abs(here - there) <= more_iterations
    assert case["fallback"] == [0, 0]


def test_states_are_those_of_one_device(short):
    for name in ("diagonal", "dense", "surrogate"):
        check(short[name])


@pytest.mark.slow
def test_any_method_mesh_and_length_gives_the_states_of_one_device():
    for case in run(*LONG).values():
        check(case)


@pytest.mark.slow
def test_windows_follow_one_another():
    for case in run(*WINDOWS).values():
        # One that slides takes in new steps earlier.
        check(case, more_iterations=case["iterations"][0])


@pytest.mark.slow
def test_what_is_left_is_finished_by_one_device_after_the_other(rest):
    for case, left in zip(rest["budget"], (63, 59, 52), strict=True):
        assert max(case["error"], case["loop"]) < 1e-15
        assert case["fallback"] == [left, left]
    case = rest["budget in windows"]
    # A window that slides has come further; within one that does not, k iterations find k states.
    assert case["error"] < 1e-9 and case["loop"] < 1e-15 and case["fallback"][1] == 54


@pytest.mark.slow
def test_chaos_is_noticed_as_on_one_device(rest):
    case = rest["chaos"]
    assert case["fallback"] == [190, 190]
    assert min(case["growth"]) > 0


@pytest.mark.slow
def test_a_tolerance_of_zero_gives_the_bits_of_every_step(rest):
    assert rest["exact"] == [[True, 0]] * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chains 2x4 by axis", "chains 8"])
def test_chains_are_mapped(rest, name):
    assert rest[name] < 1e-9


@pytest.mark.slow
def test_derivatives_are_those_of_one_device(rest):
    assert rest["gradient"] < 1e-9


DIM = 4
# What a block has found: seven numbers.
FOUND = 7
# A matrix and a vector, or a diagonal and a vector, of every device.
DENSE = ("all-gather", "f64", (8, DIM * DIM + DIM + FOUND))
DIAGONAL = ("all-gather", "f64", (8, 2 * DIM + FOUND))
PASSED = ("collective-permute", "f64", (DIM,))
# The growth of errors is judged once, after ten iterations.
DENSE_GROWTH = ("all-gather", "f64", (8, DIM * DIM + 1))
DIAGONAL_GROWTH = ("all-reduce", "f64", (DIM,))
# Of how many steps.
SHARE = ("all-gather", "f64", (8, 1))


def sent(found):
    return Counter((kind, dtype, tuple(shape)) for kind, dtype, shape, _ in found)


def within_an_iteration(found, carry):
    """Return what is sent in the computation that sends the carries: the body of the loop."""
    place = next(place for *what, place in found if sent([(*what, place)]) == Counter([carry]))
    return sent(message for message in found if message[-1] == place)


def test_an_iteration_gathers_one_carry_and_passes_one_state(short):
    found = short["collectives dense"]
    assert within_an_iteration(found, DENSE) == Counter([DENSE, PASSED])
    # A state is passed on before the first iteration, and at every turn of the loop that finishes.
    assert sent(found) == Counter([DENSE, PASSED, PASSED, PASSED, DENSE_GROWTH, SHARE])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["collectives sweep", "collectives diagonal"])
def test_so_does_one_that_solves_the_recurrence_twice(rest, name):
    found = rest[name]
    assert within_an_iteration(found, DIAGONAL) == Counter([DIAGONAL, PASSED])
    assert sent(found) == Counter([DIAGONAL, PASSED, PASSED, PASSED, DIAGONAL_GROWTH, SHARE])


@pytest.mark.slow
def test_messages_depend_neither_on_the_length_of_the_chain_nor_on_the_scale(rest):
    expected = sent(rest["collectives dense"])
    assert sent(rest["collectives dense long"]) == expected
    assert sent(rest["collectives observed scale"]) == expected


@pytest.mark.slow
def test_chains_of_other_devices_are_not_waited_for(rest):
    # No permute, which all devices of the mesh would have to join.
    carry = ("all-gather", "f64", (4, DIM * DIM + DIM + FOUND))
    states = ("all-gather", "f64", (4, DIM))
    assert within_an_iteration(rest["collectives 2x4"], carry) == Counter([carry, states])
    assert {kind for kind, *_ in rest["collectives 2x4"]} == {"all-gather"}
