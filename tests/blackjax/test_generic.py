import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.blackjax import generic, run_inference_algorithm
from parallel_mcmc.solver import Dense, Diagonal, Surrogate, Zero
from parallel_mcmc.solver.chart import Euclidean


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 8)


def hmc_state(dim=2):
    return blackjax.hmc.init(jnp.ones(dim), logdensity)


def test_the_log_density_follows_from_the_position():
    algorithm = blackjax.ghmc(logdensity, 0.3, jnp.ones(2), 0.8, 1.3)
    state = algorithm.init(jnp.ones(2), KEY)
    chart = generic.choose_chart(algorithm.init, state)
    coordinates = chart.coordinates(state)
    assert coordinates.shape == (5,)  # position, momentum and slice variable
    lifted = chart.lift(state, 2 * coordinates)
    wanted = {
        "position": 2 * state.position,
        "momentum": 2 * state.momentum,
        "slice": 2 * state.slice,
        "logdensity": logdensity(2 * state.position),
        "logdensity_grad": -2 * state.position,
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(getattr(lifted, name), value, rtol=1e-6, err_msg=name)
    assert chart.place(state, coordinates).logdensity == state.logdensity
    np.testing.assert_allclose(chart.coordinates(lifted), 2 * coordinates, rtol=1e-6)


def test_states_of_other_kinds_are_solved_whole():
    def init(position, rng_key=None):
        return (position, jnp.zeros(3))

    assert generic.choose_chart(init, init(jnp.ones(2))) == Euclidean()
    # A state that its own `init` does not accept a position for.
    assert generic.choose_chart(lambda a, b, c: a, hmc_state()) == Euclidean()


def test_counters_and_keys_are_given_to_the_solver():
    algorithm = blackjax.dynamic_hmc(logdensity, 0.3, jnp.ones(2))
    state = algorithm.init(jnp.ones(2), KEY)
    steps = generic.as_steps(algorithm.step, algorithm.init, state, KEYS, 1e-6)
    _, (given,) = steps.inputs

    def step(state, key):
        return algorithm.step(key, state)[0], jax.random.key_data(state.random_generator_arg)

    wanted = jax.lax.scan(step, state, KEYS)[1]
    np.testing.assert_array_equal(jax.random.key_data(given), wanted)


@pytest.mark.parametrize(("dim", "model"), [(2, Dense), (generic.LARGEST_DENSE + 1, Diagonal)])
def test_method_for_a_step_that_can_be_differentiated(dim, model):
    algorithm = blackjax.nuts(logdensity, 0.3, jnp.ones(dim))
    state = hmc_state(dim)
    steps = generic.as_steps(algorithm.step, algorithm.init, state, KEYS, 1e-6)
    assert isinstance(generic.default_method(steps, state).jacobian, model)


def opaque(x):
    return logdensity(x)


opaque = jax.custom_vjp(opaque)
opaque.defvjp(lambda x: (logdensity(x), x), lambda x, g: (-g * x,))


def propose(key, x):
    return x + jax.random.normal(key, x.shape)


@pytest.mark.parametrize(
    ("algorithm", "model"),
    [
        # Its loop carries the log density along, which newer JAX sees that no coordinate needs.
        (blackjax.elliptical_slice(opaque, mean=jnp.zeros(2), cov=jnp.ones(2)), (Zero, Dense)),
        # The proposal does not depend on the log density, nor do the coordinates of the state.
        (blackjax.rmh(opaque, propose), Dense),
    ],
)
def test_method_for_a_density_without_forward_derivative(x64, algorithm, model):
    key, start = jax.random.key(3), jnp.ones(2)
    state = algorithm.init(start)
    steps = generic.as_steps(algorithm.step, algorithm.init, state, KEYS, 1e-6)
    assert isinstance(generic.default_method(steps, state).jacobian, model)
    # And it runs.
    arguments = (key, algorithm, 30, None, start)
    ours = run_inference_algorithm(*arguments, solver="parallel")[0]
    theirs = blackjax.util.run_inference_algorithm(*arguments)[0]
    np.testing.assert_allclose(ours.position, theirs.position, rtol=1e-6)


def test_method_for_kernels_of_ours():
    assert isinstance(generic.native_method({"a": jnp.ones(2)}).jacobian, Dense)
    assert isinstance(generic.native_method(jnp.ones(1000)).jacobian, Surrogate)


def test_a_step_that_fails_in_batches_says_so():
    def outside(x):
        # Without `vmap_method`, JAX does not know how to call it for a batch.
        return jax.pure_callback(logdensity, jax.ShapeDtypeStruct((), x.dtype), x)

    algorithm = blackjax.rmh(outside, propose)
    state = algorithm.init(jnp.ones(2))
    with pytest.raises(generic.NotSolvable, match="cannot be evaluated in batches"):
        generic.as_steps(algorithm.step, algorithm.init, state, KEYS, 1e-6)


def test_settled_states_have_the_types_of_the_step():
    algorithm = blackjax.rmh(lambda x: -0.5 * x**2, lambda key, x: x + jax.random.normal(key))
    state = generic.settled(algorithm.step, algorithm.init(1.0), KEY)
    assert state.position.dtype == jnp.float32
    assert not state.position.weak_type and not state.logdensity.weak_type
