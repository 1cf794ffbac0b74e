import jax
import jax.numpy as jnp
import pytest

import parallel_mcmc as pmc


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


def update(x, z):
    return 0.5 * x + z


def noise(key):
    return (jax.random.normal(key, (2,)),)


BUILD = {
    "rmh": lambda f, e: pmc.rmh(f, e),
    "ula": lambda f, e: pmc.ula(f, e),
    "mala": lambda f, e: pmc.mala(f, e),
    "hmc": lambda f, e: pmc.hmc(f, e, None, 3),
    "barker": lambda f, e: pmc.barker(f, e),
    "underdamped": lambda f, e: pmc.underdamped_langevin(f, e),
    "mclmc": lambda f, e: pmc.mclmc(f, 1.0, e),
    "adjusted mclmc": lambda f, e: pmc.adjusted_mclmc(f, e, None, 3),
}


@pytest.mark.parametrize("name", BUILD)
def test_step_size_and_log_density(name):
    for bad in (0.0, -0.1, float("nan"), "0.1", True):
        with pytest.raises(ValueError, match="step_size must be"):
            BUILD[name](logdensity, bad)
    with pytest.raises(TypeError, match="logdensity_fn must be callable, got int"):
        BUILD[name](3, 0.1)


@pytest.mark.parametrize("name", BUILD)
def test_initial_position(name):
    kernel, key = BUILD[name](logdensity, 0.1), jax.random.key(0)
    with pytest.raises(ValueError, match="initial_position must be a pytree of floating-point"):
        kernel.init(jnp.array([1, 2]), key)
    with pytest.raises(ValueError, match="initial_position must be finite"):
        kernel.init(jnp.array([1.0, jnp.nan]), key)
    for f, message in (
        (lambda x: x, "logdensity_fn must return a scalar"),
        (lambda x: jnp.log(-jnp.sum(x**2)), "initial_position must have a finite log density"),
        (lambda x: x["a"], "logdensity_fn does not accept initial_position"),
    ):
        with pytest.raises(ValueError, match=message):
            BUILD[name](f, 0.1).init(jnp.ones(2), key)
    with pytest.raises(ValueError, match="inverse_mass_matrix is for 3 dimensions"):
        pmc.rmh(logdensity, 0.1, jnp.ones(3)).bind(jnp.ones(2))


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "friction must be", lambda: pmc.underdamped_langevin(logdensity, 0.1, 0.0)),
        (ValueError, "L must be", lambda: pmc.mclmc(logdensity, -1.0, 0.1)),
        (
            ValueError,
            "num_integration_steps must be a positive",
            lambda: pmc.adjusted_mclmc(logdensity, 0.1, None, 0),
        ),
        (ValueError, "low must be a positive integer", lambda: pmc.UniformSteps(0, 3)),
        (ValueError, "high must be at least low = 4, got 3", lambda: pmc.UniformSteps(4, 3)),
        (ValueError, "temperature must be positive", lambda: pmc.SmoothGate(0.0)),
        (TypeError, "gate must be", lambda: pmc.mala(logdensity, 0.1, gate=pmc.HardGate)),
        (TypeError, "gate must be", lambda: pmc.rmh(logdensity, 0.1, gate="soft")),
        (
            TypeError,
            "integrator must be",
            lambda: pmc.hmc(logdensity, 0.1, None, 3, integrator="leapfrog"),
        ),
        (
            TypeError,
            "key must be",
            lambda: pmc.underdamped_langevin(logdensity, 0.1).init(jnp.ones(2)),
        ),
        (
            ValueError,
            "at least 2 dimensions",
            lambda: pmc.mclmc(logdensity, 1.0, 0.1).init(jnp.ones(1), jax.random.key(0)),
        ),
        (
            ValueError,
            "at least 2 dimensions",
            lambda: pmc.adjusted_mclmc(logdensity, 0.1, None, 3).init(jnp.ones(1)),
        ),
        (ValueError, "conditionals must hold at least one", lambda: pmc.gibbs([], noise)),
        (TypeError, r"conditionals\[1\] must be callable", lambda: pmc.gibbs([update, 1], noise)),
        (TypeError, "draw_noise must be callable", lambda: pmc.gibbs([update], None)),
        (
            ValueError,
            "draw_noise must return a tuple with one entry for each of the 2 conditionals, got 1",
            lambda: pmc.gibbs([update, update], noise).init(jnp.ones(2)),
        ),
        (
            ValueError,
            r"the value of conditionals\[0\] must have the shape and dtype of the position",
            lambda: pmc.gibbs([lambda x, z: x[:1]], noise).init(jnp.ones(2)),
        ),
        (
            ValueError,
            "initial_position must have a floating-point leaf",
            lambda: pmc.gibbs([update], noise).init(jnp.arange(2)),
        ),
        (ValueError, "kernels must hold at least one", lambda: pmc.cycle([])),
        (
            TypeError,
            r"kernels\[1\] must be a kernel",
            lambda: pmc.cycle([pmc.rmh(logdensity, 0.1), logdensity]),
        ),
    ],
)
def test_bad_arguments(error, message, call):
    with pytest.raises(error, match=message):
        call()
