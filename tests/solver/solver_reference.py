"""The sequential loop that every solution is compared with."""

import jax


def loop(step, start, inputs):
    def body(state, value):
        state = step(state, value)
        return state, state

    return jax.lax.scan(body, start, inputs)[1]
