import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc import SequentialFallbackWarning
from parallel_mcmc._errors import (
    require_callable,
    require_finite,
    require_key,
    require_like,
    require_not_negative,
    require_path,
    require_positive,
    require_positive_int,
    warn_fallback,
)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None])
def test_positive_int_rejects(value):
    with pytest.raises(ValueError, match="^count must be a positive integer, got"):
        require_positive_int("count", value)


def test_positive_int_accepts_numpy_integers():
    value = require_positive_int("count", np.int32(3))
    assert value == 3 and type(value) is int


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan, True, "1", np.ones(2)])
def test_positive_rejects(value):
    with pytest.raises(ValueError, match="^width must be"):
        require_positive("width", value)


def test_positive_lets_traced_values_through():
    assert jax.jit(lambda x: require_positive("width", x))(-1.0) == -1.0


@pytest.mark.parametrize("value", [-1e-9, np.inf, np.nan, True, "1", np.ones(2)])
def test_not_negative_rejects(value):
    with pytest.raises(ValueError, match="^width must be a"):
        require_not_negative("width", value)


def test_not_negative_accepts_zero_and_traced_values():
    assert require_not_negative("width", 0) == 0
    assert jax.jit(lambda x: require_not_negative("width", x))(-1.0) == -1.0


def test_path():
    assert require_path("folder", "a/b") == pathlib.Path("a/b")
    with pytest.raises(TypeError, match="^folder must be a path, got int: 3"):
        require_path("folder", 3)


def test_callable():
    with pytest.raises(TypeError, match="^step must be callable, got int"):
        require_callable("step", 3)


@pytest.mark.parametrize(
    "key",
    [0, None, [0, 1], jnp.zeros(2), np.zeros(2, np.int32), np.zeros(3, np.uint32), "key"],
    ids=repr,
)
def test_key_rejects(key):
    with pytest.raises(TypeError, match="^key must be a key of jax.random.key"):
        require_key("key", key)


def test_key_rejects_an_array_of_keys():
    with pytest.raises(TypeError, match=r"got an array of \(2,\) keys"):
        require_key("key", jax.random.split(jax.random.key(0)))


def test_finite_names_the_leaf():
    with pytest.raises(ValueError, match=r"^state\['a'\] must be finite, got 1 non-finite of 2"):
        require_finite("state", {"a": jnp.array([1.0, jnp.nan]), "n": jnp.array(3)})


def test_like_names_what_differs():
    example = {"a": jnp.zeros(2)}
    with pytest.raises(ValueError, match="^guess must have the structure of states"):
        require_like("guess", {"b": jnp.zeros(2)}, example, "states")
    with pytest.raises(ValueError, match=r"^guess\['a'\] must have the shape and dtype of states"):
        require_like("guess", {"a": jnp.zeros(3)}, example, "states")
    with pytest.raises(ValueError, match="int32"):
        require_like("guess", {"a": jnp.zeros(2, jnp.int32)}, example, "states")


def test_fallback_warning():
    warn_fallback(0, 10, 5)  # the test run makes a warning an error
    with pytest.warns(SequentialFallbackWarning, match="finished 3 of 10 steps .30.0%"):
        warn_fallback(3, 10, 5)
