import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import InLanes, Parallel, Sequential
from parallel_mcmc.store.identity import environment, settings, solver_settings


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


def test_settings_of_a_composed_kernel():
    kernel = pmc.cycle([pmc.rmh(logdensity, 0.5), pmc.hmc(logdensity, 0.25, jnp.ones(9), 3)])
    found = settings("kernel", kernel)
    assert found["kernel.kernels[0]"] == "RMH"
    assert found["kernel.kernels[0].step_size"] == "float32 0.5"
    assert found["kernel.kernels[1].num_integration_steps"] == "3"
    assert found["kernel.kernels[1].metric.scale"].startswith("float32 array of shape (9,), sha256")
    assert not any("logdensity_fn" in name for name in found)


def test_a_large_array_is_known_by_its_digest():
    array = np.arange(9.0)
    other = array.copy()
    other[-1] = np.nextafter(other[-1], 0)
    assert settings("x", array) == settings("x", array.copy()) != settings("x", other)


def test_bound_data_are_settings():
    bound = jax.tree_util.Partial(lambda d, x: d * x, jnp.array(2.0), scale=3)
    assert settings("f", bound) == {"f.args[0]": "float32 2.0", "f.keywords['scale']": "3"}


def test_addresses_do_not_count():
    assert "0x" not in settings("kernel", type("Odd", (), {})())["kernel"]


def test_how_a_runner_is_made_again():
    assert solver_settings(Sequential()) == {"solver": "sequential", "window": None}
    assert solver_settings(Parallel(None, 8)) == {"solver": "parallel", "window": 8}
    assert solver_settings(Parallel(pmc.Newton(), 8)) == {"solver": "newton", "window": 8}
    assert solver_settings(Parallel(pmc.quasi_deer(), 8)) == {"solver": None, "window": 8}
    assert solver_settings(InLanes(4, 8)) == {"solver": "shooting 4", "window": 8}


def test_a_weak_type_is_no_other_program():
    weak, strong = jnp.array([0.5]), jnp.zeros(1, jnp.float32)
    one = environment(pmc.mala(logdensity, 0.5), weak, 0)
    two = environment(pmc.mala(logdensity, np.float32(0.5)), strong, 0)
    assert one == two


def test_every_log_density_has_its_program():
    kernel = pmc.cycle([pmc.rmh(logdensity, 0.5), pmc.mala(logdensity, 0.5)])
    assert set(environment(kernel, jnp.zeros((1, 2)), 0)["programs"]) == {
        "kernel.kernels[0].logdensity_fn",
        "kernel.kernels[1].logdensity_fn",
        "a transition",
    }
