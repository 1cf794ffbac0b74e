import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc


def step(weights, state, value):
    x = jnp.tanh(weights @ state["x"] + value["u"]) * (1 + 0.1 * (state["n"] % 2))
    return {"x": x, "n": state["n"] + value["k"]}


def problem(dtype=None):
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(3, 3)) / 3, dtype)
    start = {"x": jnp.asarray(rng.normal(size=3), dtype), "n": jnp.array(1)}
    inputs = {"u": jnp.asarray(rng.normal(size=(40, 3)), dtype), "k": jnp.ones(40, int)}
    return weights, start, inputs


def by_solve(weights, x, u, method=None, window=None):
    _, start, inputs = problem()
    bound = jax.tree_util.Partial(step, weights)
    solution = pmc.solve(bound, start | {"x": x}, inputs | {"u": u}, method=method, window=window)
    return solution.states["x"]


def by_loop(weights, x, u):
    _, start, inputs = problem()

    def body(state, value):
        state = step(weights, state, value)
        return state, state["x"]

    return jax.lax.scan(body, start | {"x": x}, inputs | {"u": u})[1]


def arguments():
    weights, start, inputs = problem(jnp.float64)
    return weights, start["x"], inputs["u"]


@pytest.mark.parametrize(
    ("method", "window"),
    [
        (pmc.deer(), None),
        (pmc.quasi_deer(), 8),
        pytest.param(pmc.quasi_deer(), None, marks=pytest.mark.slow),
        pytest.param(pmc.deer(), 8, marks=pytest.mark.slow),
        pytest.param(pmc.jacobi(), 8, marks=pytest.mark.slow),
    ],
)
def test_gradient_is_that_of_the_loop(x64, method, window):
    def loss(states):
        return jnp.sum(jnp.sin(states) * jnp.arange(1.0, 41.0)[:, None])

    def ours(*args):
        return loss(by_solve(*args, method=method, window=window))

    gradients = jax.grad(ours, argnums=(0, 1, 2))(*arguments())
    expected = jax.grad(lambda *args: loss(by_loop(*args)), argnums=(0, 1, 2))(*arguments())
    for gradient, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, want, rtol=1e-6, atol=1e-8)


def test_forward_mode_and_jit(x64):
    values = arguments()
    tangents = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size).reshape(leaf.shape)), values)
    _, ours = jax.jit(lambda v, t: jax.jvp(by_solve, v, t))(values, tangents)
    _, expected = jax.jvp(by_loop, values, tangents)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-8)
