import jax
import jax.numpy as jnp
import pytest

from parallel_mcmc.blackjax.dependence import independent_leaves, primitives_of, read_leaves

KEY = jax.random.key(0)


def counter(key, state):
    return {"n": state["n"] + 1, "x": state["x"] * state["n"]}, None


def counter_of_accepted(key, state):
    return {"n": state["n"] + (state["x"] > 0), "x": state["x"]}, None


def chained(key, state):
    return {"m": state["m"] + state["n"], "n": jax.random.randint(key, (), 0, 9)}, None


def chained_to_a_dependent_one(key, state):
    moved, _ = counter_of_accepted(key, state)
    return moved | {"m": state["m"] + state["n"]}, None


def inside_jit(key, state):
    advance = jax.jit(lambda n, x: (n + 1, x * n))
    n, x = advance(state["n"], state["x"])
    return {"n": n, "x": x}, None


def key_in_state(key, state):
    return {"k": jax.random.split(state["k"])[1], "x": state["x"]}, None


@pytest.mark.parametrize(
    ("step", "state", "alone"),
    [
        (counter, {"n": 0, "x": 1.0}, {"n"}),
        (counter_of_accepted, {"n": 0, "x": 1.0}, set()),
        (chained, {"m": 0, "n": 0}, {"m", "n"}),
        (chained_to_a_dependent_one, {"m": 0, "n": 0, "x": 1.0}, set()),
        (inside_jit, {"n": 0, "x": 1.0}, {"n"}),
        (key_in_state, {"k": KEY, "x": 1.0}, {"k"}),
        (key_in_state, {"k": jax.random.PRNGKey(0), "x": 1.0}, {"k"}),
    ],
)
def test_leaves_that_evolve_by_themselves(step, state, alone):
    state = jax.tree.map(jnp.asarray, state)
    flags = independent_leaves(step, KEY, state)
    assert flags is not None
    assert {name for name, flag in zip(sorted(state), flags, strict=True) if flag} == alone


def test_side_effects():
    def step(key, x):
        jax.debug.print("{}", x)
        return x, None

    assert independent_leaves(step, KEY, jnp.ones(2)) is None
    assert read_leaves(lambda pair: step(KEY, pair[0])[0], (1.0, 2.0)) == (True, True)


def test_leaves_that_a_function_reads():
    def keep(state, info):
        return {"x": state["x"], "y": jax.jit(jnp.sin)(info["a"]) + 0 * info["b"], "one": 1}

    state, info = {"w": jnp.ones(3), "x": 1.0}, {"a": 1.0, "b": 2.0, "c": 3}
    assert read_leaves(keep, state, info) == (False, True, True, True, False)
    assert read_leaves(lambda state, info: None, state, info) == (False,) * 5


def test_primitives_inside_loops_and_branches():
    def step(x):
        x = jax.lax.fori_loop(0, 3, lambda i, x: jnp.sin(x), x)
        return jax.lax.cond(x > 0, jnp.cos, jnp.tan, x)

    assert {"sin", "cos", "tan"} <= primitives_of(jax.make_jaxpr(step)(1.0).jaxpr)
