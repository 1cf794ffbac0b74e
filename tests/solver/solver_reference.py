"""The sequential loop that every solution is compared with, and a recurrence of mixed leaves."""

import jax
import jax.numpy as jnp

T = 50


def loop(step, start, inputs):
    def body(state, value):
        state = step(state, value)
        return state, state

    return jax.lax.scan(body, start, inputs)[1]


def step(state, u):
    """A contraction whose second leaf feeds on the counter."""
    x, y, n = state["x"], state["y"], state["n"]
    forced = 0.3 * jnp.cos(n.astype(x.dtype))
    return {
        "x": 0.5 * jnp.tanh(x[::-1]) + u,
        "y": 0.4 * jnp.sin(y + x[0]) + forced,
        "n": n + 1,
    }


def problem(dtype, seed=0, length=T):
    start = {"x": jnp.ones(3, dtype), "y": jnp.zeros((), dtype), "n": jnp.array(2)}
    return start, jax.random.normal(jax.random.key(seed), (length, 3), dtype)
