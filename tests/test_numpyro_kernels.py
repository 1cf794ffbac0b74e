"""Arguments of the kernels, and what the warmup makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.diagnostics import effective_sample_size

from parallel_mcmc import kernels
from parallel_mcmc.kernels.metric import metric
from parallel_mcmc.kernels.metropolis_kernel import Draw
from parallel_mcmc.numpyro import HMC, MALA, MCMC, RandomWalk
from parallel_mcmc.numpyro.state import AdaptState
from parallel_mcmc.numpyro.trajectory import TrajectoryHMC

DRAW = Draw(jnp.zeros(2), jnp.array(0.5))
SIZES = {"x": (), "y": (4,), "w": (2, 5), "z": (1,)}


def sized_model():
    for name, shape in SIZES.items():
        numpyro.sample(name, dist.Normal(0, 1).expand(list(shape)))


def correlated_model():
    covariance = jnp.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 4.0]])
    numpyro.sample("a", dist.MultivariateNormal(jnp.zeros(3), covariance))
    numpyro.sample("b", dist.Normal(0, 10.0).expand([2]))


def run(kernel, num_warmup=0, num_samples=2, **options):
    mcmc = MCMC(kernel, num_warmup=num_warmup, num_samples=num_samples, progress_bar=False)
    mcmc.run(jax.random.key(0), **options)
    return mcmc


def tuned_by(kernel, num_warmup=0):
    return kernel.init(jax.random.key(0), num_warmup).adapt_state


@pytest.mark.parametrize(
    "dense_mass, shapes",
    [
        (False, {("w", "x", "y", "z"): (16,)}),
        (True, {("w", "x", "y", "z"): (16, 16)}),
        ([], {("w", "x", "y", "z"): (16,)}),
        ([("y", "w", "z", "x")], {("y", "w", "z", "x"): (16, 16)}),
        ([("x", "w"), ("y",)], {("x", "w"): (11, 11), ("y",): (4, 4), ("z",): (1,)}),
        ([("y",)], {("w", "x", "z"): (12,), ("y",): (4, 4)}),
    ],
)
def test_structure_of_the_mass_matrix(dense_mass, shapes):
    """The same blocks as in NumPyro."""
    tuned = tuned_by(HMC(sized_model, dense_mass=dense_mass))
    assert {k: v.shape for k, v in tuned.inverse_mass_matrix.items()} == shapes
    expected = tuned_by(numpyro.infer.HMC(sized_model, dense_mass=dense_mass))
    for field in ["inverse_mass_matrix", "mass_matrix_sqrt"]:
        ours, other = getattr(tuned, field), getattr(expected, field)
        assert ours.keys() == other.keys()
        jax.tree.map(np.testing.assert_allclose, ours, dict(other))


@pytest.mark.parametrize("kernel", [pytest.param(MALA, marks=pytest.mark.slow), RandomWalk])
def test_blocks_are_adapted_apart(kernel):
    mcmc = run(kernel(correlated_model, dense_mass=[("a",)]), num_warmup=600)
    matrix = mcmc.last_state.adapt_state.inverse_mass_matrix
    assert matrix[("a",)][0, 1] > 0.5
    assert matrix[("b",)].shape == (2,) and (matrix[("b",)] > 20).all()
    whole = np.asarray(mcmc.warmup_result.inverse_mass_matrix)
    assert (whole[:3, 3:] == 0).all() and whole[3, 4] == 0 and (whole[:3, :3] != 0).all()
    root = mcmc.last_state.adapt_state.mass_matrix_sqrt[("a",)]
    np.testing.assert_allclose(root @ root.T @ matrix[("a",)], np.eye(3), atol=1e-3)


@pytest.mark.parametrize("dense_mass", [[("a",)], False])
def test_given_inverse_mass_matrix(dense_mass):
    given = jnp.array([1.0, 2.0, 3.0])
    for matrix in [{("a",): given}, {("a",): jnp.diag(given)}]:
        kernel = HMC(
            correlated_model,
            dense_mass=dense_mass,
            inverse_mass_matrix=matrix,
            adapt_mass_matrix=False,
        )
        result = tuned_by(kernel).inverse_mass_matrix
        assert set(result) == {("a",), ("b",)}
        expected = jnp.diag(given) if dense_mass else given
        np.testing.assert_allclose(result[("a",)], expected, rtol=1e-6)
        np.testing.assert_array_equal(result[("b",)], np.ones(2))


@pytest.mark.parametrize("dense_mass", [True, False])
@pytest.mark.parametrize("matrix", [jnp.arange(1.0, 6.0), jnp.diag(jnp.arange(1.0, 6.0)), 2.0])
def test_given_array(dense_mass, matrix):
    kernel = HMC(
        correlated_model,
        dense_mass=dense_mass,
        inverse_mass_matrix=matrix,
        adapt_mass_matrix=False,
    )
    result = tuned_by(kernel).inverse_mass_matrix[("a", "b")]
    diagonal = jnp.diag(matrix) if jnp.ndim(matrix) == 2 else jnp.broadcast_to(matrix, (5,))
    np.testing.assert_allclose(result, jnp.diag(diagonal) if dense_mass else diagonal, rtol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dense_mass": [("a",), ("c",)]}, "each site of .'a', 'b'. once"),
        ({"dense_mass": [("a",), ("a", "b")]}, "each site of .'a', 'b'. once"),
        ({"inverse_mass_matrix": {("a",): np.ones(2)}}, "inverse_mass_matrix"),
        ({"inverse_mass_matrix": np.ones(4)}, "inverse_mass_matrix must have shape .5,."),
    ],
)
def test_mass_matrix_that_does_not_fit_the_model(options, message):
    with pytest.raises(ValueError, match=message):
        tuned_by(HMC(correlated_model, **options))


def test_potential_fn_has_no_sites():
    for options in [{"dense_mass": [("a",)]}, {"inverse_mass_matrix": {("a",): np.ones(1)}}]:
        with pytest.raises(ValueError, match="must not name sites"):
            HMC(potential_fn=jnp.sum, **options)
    kernel = HMC(potential_fn=lambda q: 0.5 * jnp.sum(q["a"] ** 2), dense_mass=False)
    mcmc = run(kernel, num_warmup=50, init_params={"a": jnp.zeros(3)})
    assert mcmc.last_state.adapt_state.inverse_mass_matrix.shape == (3,)
    assert mcmc.last_state.adapt_state.mass_matrix_sqrt.shape == (3,)


@pytest.mark.parametrize("kernel", [MALA, RandomWalk])
def test_options_reach_the_warmup(kernel):
    kernel = kernel(
        correlated_model,
        step_size=0.3,
        find_heuristic_step_size=False,
        regularize_mass_matrix=False,
        dense_mass=False,
    )
    mcmc = MCMC(kernel, num_warmup=40, num_samples=2, progress_bar=False)
    mcmc.warmup(jax.random.key(0), collect_warmup=True)
    np.testing.assert_allclose(mcmc.warmup_result.step_sizes[:, 0], 0.3, rtol=1e-6)
    draws = mcmc.get_samples()
    assert draws["b"].shape == (40, 2)
    # Steps 6 to 35 of 40 are those of the slow window.
    variances = np.asarray(draws["b"])[6:36].var(0, ddof=1)
    matrix = mcmc.last_state.adapt_state.inverse_mass_matrix[("a", "b")]
    np.testing.assert_allclose(matrix[3:], variances, rtol=1e-4)


def test_trajectory_length():
    """As in NumPyro, the step size shrinks until a whole number of steps fits."""
    kernel = HMC(correlated_model, step_size=0.3, trajectory_length=2.0)
    mcmc = MCMC(kernel, num_warmup=0, num_samples=3, progress_bar=False)
    mcmc.run(jax.random.key(0), extra_fields=["num_steps"])
    assert mcmc.get_extra_fields()["num_steps"].tolist() == [7, 7, 7]
    built = kernel.build(jnp.sum, mcmc.last_state.adapt_state).leapfrog()
    np.testing.assert_allclose(built.step_size, 2.0 / 7, rtol=1e-6)


@pytest.mark.parametrize("step_size, steps", [(2.0, 1), (0.3, 6), (0.1, 16), (1e-30, 16)])
def test_default_is_a_quarter_turn_in_few_steps(x64, step_size, steps):
    tuned = AdaptState(jnp.array(step_size), metric(None), None)
    built = HMC(correlated_model).build(jnp.sum, tuned).leapfrog()
    assert built.num_integration_steps == steps
    np.testing.assert_allclose(built.step_size, min(step_size, np.pi / 2 / steps), rtol=1e-12)


@pytest.mark.parametrize("length", [pytest.param(0.05, marks=pytest.mark.slow), 1.0])
def test_the_trajectory_may_be_traced(length):
    def draw(length):
        kernel = HMC(correlated_model, trajectory_length=length)
        mcmc = MCMC(kernel, num_warmup=5, num_samples=5, progress_bar=False)
        mcmc.run(jax.random.key(0))
        return mcmc.get_samples()

    traced, plain = jax.jit(draw)(length), draw(length)
    assert traced.keys() == plain.keys()
    for name in plain:
        assert traced[name].shape == plain[name].shape and np.isfinite(traced[name]).all()


def test_step_size_is_at_most_the_trajectory():
    tuned = tuned_by(HMC(correlated_model, trajectory_length=0.05), num_warmup=50)
    np.testing.assert_allclose(tuned.step_size, 0.05, rtol=1e-6)


def test_number_and_length_fix_the_step_size():
    with pytest.warns(UserWarning, match="trajectory_length / num_steps"):
        kernel = HMC(correlated_model, num_steps=4, trajectory_length=2.0)
    tuned = tuned_by(kernel)
    np.testing.assert_allclose(tuned.step_size, 0.5, rtol=1e-6)
    assert kernel.build(jnp.sum, tuned).num_integration_steps == 4
    HMC(correlated_model, num_steps=4, trajectory_length=2.0, adapt_step_size=False)


@pytest.mark.parametrize("step_size", [0.1, 0.7, 1.9])
def test_unit_gaussian_of_a_trajectory(x64, step_size):
    kernel = TrajectoryHMC(jnp.sum, jnp.array(step_size), None, jnp.array(2.5 * step_size))
    fixed = kernels.HMC(jnp.sum, jnp.array(2.5 * step_size / 3), None, 3)
    np.testing.assert_allclose(kernel.unit_gaussian(DRAW), fixed.unit_gaussian(DRAW), atol=1e-9)


def test_unit_gaussian_of_an_unstable_trajectory(x64):
    """It is the map of one leapfrog step at the stability limit, a step size just below 2."""
    kernel = TrajectoryHMC(jnp.sum, jnp.array(5.0), None, jnp.array(5.0))
    expected = [1 - 0.5 * 1.999**2, 1.999]
    np.testing.assert_allclose(kernel.unit_gaussian(DRAW), expected, rtol=1e-9)


@pytest.mark.slow
def test_forward_mode(x64):
    """A loop whose length depends on the position has no reverse mode."""

    def model(y):
        x = numpyro.sample("x", dist.Normal(0, 1).expand([2]).to_event(1))
        x = jax.lax.while_loop(lambda x: x[0] < 10, lambda x: x + 1, x)
        numpyro.sample("y", dist.Normal(x[1], 1), obs=y)

    mcmc = MCMC(
        HMC(model, forward_mode_differentiation=True),
        num_warmup=50,
        num_samples=50,
        solver="parallel",
        window=25,
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), 9.0)
    assert mcmc.samples.stats.converged.all()
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        run(HMC(model), y=9.0)
    potential = HMC(potential_fn=lambda q: jnp.sum(q**2), forward_mode_differentiation=True)
    target = potential.target(jax.random.key(0), (), {})
    gradient = jax.grad(target.logdensity)(jnp.arange(3.0))
    np.testing.assert_allclose(gradient, -2 * jnp.arange(3.0))


def test_kinetic_fn_is_refused():
    with pytest.raises(ValueError, match="kinetic_fn must be None"):
        HMC(correlated_model, kinetic_fn=lambda m, r: 0.0)


def test_refresh_and_wrap_model():
    """What NumPyro's composite kernels ask of a kernel."""

    def model(y, scale=1.0):
        x = numpyro.sample("x", dist.Normal(0, scale))
        numpyro.sample("y", dist.Normal(x, 1.0), obs=y)

    kernel = HMC(model)
    state = kernel.init(jax.random.key(0), 0, None, (1.0,), {})
    fresh = kernel.refresh(state, (3.0,), {})
    expected = numpyro.infer.util.potential_energy(model, (3.0,), {}, state.z)
    np.testing.assert_allclose(fresh.potential_energy, expected, rtol=1e-5)
    np.testing.assert_allclose(fresh.z_grad["x"], 2 * state.z["x"] - 3.0, rtol=1e-5)

    wrapped = kernel.wrap_model(lambda model: lambda y: model(y, scale=2.0))
    state = wrapped.refresh(state, (3.0,), {})
    np.testing.assert_allclose(state.z_grad["x"], 1.25 * state.z["x"] - 3.0, rtol=1e-5)
    with pytest.raises(ValueError, match="potential_fn"):
        HMC(potential_fn=jnp.sum).wrap_model(lambda model: model)


@pytest.mark.slow
def test_random_walk_draws_a_gaussian(x64):
    """Mean and covariance of the posterior, and the acceptance rate that was asked for."""
    mean, factor = jnp.array([1.0, -2.0, 0.5]), jnp.array([[1, 0, 0], [2.7, 1.3, 0], [0, -4, 8]])
    kernel = RandomWalk(
        potential_fn=lambda x: 0.5 * jnp.sum(jnp.linalg.solve(factor, x - mean) ** 2)
    )
    mcmc = MCMC(kernel, num_warmup=500, num_samples=4000, num_chains=4, progress_bar=False)
    start = mean + jax.random.normal(jax.random.key(1), (4, 3)) @ factor.T
    mcmc.run(jax.random.key(0), init_params=start, extra_fields=["accept_prob"])
    draws = np.asarray(mcmc.get_samples(group_by_chain=True))
    z = np.linalg.solve(factor, (draws - mean)[..., None])[..., 0]
    products = z[..., :, None] * z[..., None, :]
    for values, expected in [(z, np.zeros(3)), (products, np.eye(3))]:
        error = values.std((0, 1)) / np.sqrt(effective_sample_size(values))
        assert error.max() < 0.1
        assert (np.abs(values.mean((0, 1)) - expected) < 4 * error).all()
    # Dual averaging leaves the rate within 0.1 of its target after a stage of 50 steps.
    rate = mcmc.get_extra_fields()["accept_prob"].mean()
    assert abs(rate - 0.234) < 0.1
    assert mcmc.warmup_result.inverse_mass_matrix.shape == (3, 3)


def test_random_walk_takes_no_gradient():
    @jax.custom_jvp
    def potential_fn(x):
        return jnp.sum(jnp.abs(x))

    @potential_fn.defjvp
    def derivative(primals, tangents):
        raise NotImplementedError("no derivative")

    with pytest.raises(NotImplementedError, match="no derivative"):
        jax.grad(potential_fn)(jnp.ones(2))
    start = jnp.ones(2)
    kernel = RandomWalk(potential_fn=potential_fn, dense_mass=False)
    for cls, options in [(MCMC, {"solver": "parallel"}), (numpyro.infer.MCMC, {})]:
        mcmc = cls(kernel, num_warmup=30, num_samples=20, progress_bar=False, **options)
        mcmc.run(jax.random.key(0), init_params=start, extra_fields=["energy", "potential_energy"])
        assert mcmc.last_state.z_grad is None
        fields = mcmc.get_extra_fields()
        np.testing.assert_array_equal(fields["energy"], fields["potential_energy"])
    state = kernel.refresh(mcmc.last_state._replace(z=2 * start), (), {})
    assert state.potential_energy == 4 and state.z_grad is None


def test_random_walk_has_no_field_of_a_gradient():
    mcmc = MCMC(RandomWalk(correlated_model), num_warmup=0, num_samples=2, progress_bar=False)
    with pytest.raises(ValueError, match=r"extra_fields \['z_grad'\] are not known"):
        mcmc.run(jax.random.key(0), extra_fields=["z_grad"])


@pytest.mark.slow
def test_random_walk_has_defaults_of_its_own():
    """Its target, and no search: the warmup starts at the given step size."""
    kernel = RandomWalk(correlated_model, step_size=0.3)
    mcmc = MCMC(kernel, num_warmup=300, num_samples=2, num_chains=4, progress_bar=False)
    mcmc.warmup(jax.random.key(0))
    np.testing.assert_allclose(mcmc.warmup_result.step_sizes[:, 0], 0.3, rtol=1e-6)
    assert abs(mcmc.warmup_result.acceptance_rate[-40:].mean() - 0.234) < 0.1
    fixed = RandomWalk(correlated_model, adapt_step_size=False, adapt_mass_matrix=False)
    tuned = tuned_by(fixed, num_warmup=30)
    np.testing.assert_array_equal(tuned.step_size, 1.0)
    np.testing.assert_array_equal(tuned.inverse_mass_matrix[("a", "b")], np.eye(5))


@pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
@pytest.mark.parametrize(
    "cls, other, wanted", [(HMC, RandomWalk, "must have"), (RandomWalk, HMC, "must not have")]
)
def test_state_of_a_kernel_that_does_not_fit(cls, other, wanted):
    """One step at a time it is refused; our MCMC, like refresh, evaluates it anew."""
    state = other(correlated_model).init(jax.random.key(0), 0)
    kernel = cls(correlated_model)
    with pytest.raises(ValueError, match=f"state {wanted} a gradient z_grad for {cls.__name__}"):
        kernel.sample(state, (), {})
    fresh = kernel.sample(kernel.refresh(state, (), {}), (), {})
    mcmc = MCMC(kernel, num_warmup=0, num_samples=1, progress_bar=False)
    mcmc.post_warmup_state = state
    mcmc.run(state.rng_key)
    np.testing.assert_allclose(mcmc.get_samples()["b"][0], fresh.z["b"], rtol=1e-5)
    assert (mcmc.last_state.z_grad is None) == (fresh.z_grad is None) == (cls is RandomWalk)
