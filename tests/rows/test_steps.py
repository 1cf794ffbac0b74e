import jax
import jax.numpy as jnp
import pytest

from parallel_mcmc.rows.steps import steps_of


def names(function, *args):
    whole = steps_of(jax.make_jaxpr(function)(*args).jaxpr)
    return [step.primitive.name for step in whole.steps]


@jax.custom_vjp
def halved(x):
    return x / 2


halved.defvjp(lambda x: (x / 2, None), lambda _, ct: (ct / 2,))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (jax.jit(lambda x: jnp.sin(x) + 1), ["sin", "add"]),
        (jax.nn.relu, ["max"]),
        (halved, ["div"]),
        (jax.checkpoint(lambda x: jnp.sin(x) * x), ["sin", "mul"]),
    ],
)
def test_functions_that_are_called_are_opened(function, expected):
    assert names(function, 1.0) == expected


def test_what_no_result_needs_is_left_out():
    assert names(lambda x: (jnp.sin(x), jnp.cos(x))[1], 1.0) == ["cos"]


def test_a_function_that_is_called_twice_has_values_of_its_own():
    double = jax.jit(lambda x: x * 2)
    whole = steps_of(jax.make_jaxpr(lambda x: double(double(x)))(1.0).jaxpr)
    known = {whole.arguments[0]: 3.0}
    for step in whole.steps:
        step.run(known)
    assert float(whole.results[0].read(known)) == 12.0


def test_a_constant_may_be_known_by_a_part():
    whole = steps_of(jax.make_jaxpr(lambda x: x + 2.0)(1.0).jaxpr)
    (two,) = (value for value in whole.steps[0].inputs if value.constant is not None)
    assert float(two.read({})) == 2.0
    assert two.read({two: "a part"}) == "a part"
