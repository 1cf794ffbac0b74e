import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size

import parallel_mcmc as pmc
from parallel_mcmc.kernels.metric import DenseMetric, DiagonalMetric
from parallel_mcmc.warmup import build_schedule, window_adaptation
from parallel_mcmc.warmup.moments import Covariance
from parallel_mcmc.warmup.schedule import SHORT_BLOCK
from parallel_mcmc.warmup.step_size import GAMMA

DIM = 5
SCALES = np.array([0.01, 0.1, 1.0, 10.0, 100.0])
FINAL_STAGE = 50


def normal(x):
    return -0.5 * jnp.sum(x**2)


# Tests that can, share these, and so one compiled program.
KERNEL = pmc.mala(normal, 0.3)
ARGUMENTS = jax.random.key(0), KERNEL, jnp.zeros((2, 3)), 40


def correlated_factor():
    """Cholesky factor of a covariance with correlations of about 0.9 and all ``SCALES``."""
    correlation = 0.9 ** np.abs(np.subtract.outer(np.arange(DIM), np.arange(DIM)))
    return SCALES[:, None] * np.linalg.cholesky(correlation)


def gaussian(factor):
    inverse = jnp.asarray(np.linalg.inv(factor))
    return lambda x: -0.5 * jnp.sum((inverse @ (x - 3.0)) ** 2)


def assert_acceptance_is_near(samples, warmup, target):
    """The acceptance rate of a run is the target within the error of the last fast stage."""
    rates = np.asarray(samples.info.acceptance_rate)
    ess = effective_sample_size(rates)
    # Of the second half, since the step size has settled by then.
    last = np.asarray(warmup.acceptance_rate[-FINAL_STAGE // 2 :])
    mcse = np.hypot(rates.std() / np.sqrt(ess), last.std() / np.sqrt(FINAL_STAGE))
    # The pull of dual averaging to its first step size, off by a factor of 2 at most.
    pull = GAMMA * (1 - target) * np.log(2) / np.sqrt(FINAL_STAGE / SHORT_BLOCK)
    assert abs(rates.mean() - target) < pull + 4 * mcse
    # So that the bound means something.
    assert pull + 4 * mcse < 0.1


def check_recovery(kernel, factor, target, dense=True, far=0.0):
    """Tune from starts ``far`` standard deviations off, and check what comes out."""
    num_chains, num_steps = 8, 1000
    rng = np.random.default_rng(0)
    start = 3.0 + rng.normal(size=(num_chains, DIM)) @ factor.T
    scale = np.linalg.norm(factor, axis=1)
    start += far * scale * rng.choice([-1.0, 1.0], size=(num_chains, DIM))
    start = jnp.asarray(start).astype(jnp.result_type(float))
    key_warmup, key_sample = jax.random.split(jax.random.key(0))
    warmup = window_adaptation(
        key_warmup,
        kernel,
        start,
        num_steps,
        num_chains=num_chains,
        target_acceptance_rate=target,
        dense=dense,
    )
    ends = np.flatnonzero(build_schedule(num_steps).is_window_end)
    window = ends[-1] - ends[-2]
    samples = pmc.sample(
        key_sample,
        warmup.kernel,
        warmup.position,
        int(window),
        num_chains=num_chains,
        progress_bar=False,
    )
    # Undo the regularisation, and whiten by the truth: the identity is what should come out.
    n = window * num_chains
    found = np.asarray(warmup.inverse_mass_matrix, float)
    found = found if dense else np.diag(found)
    sample_covariance = (found - np.diag(np.diag(found)) * 5e-3 / (n + 5e-3)) * (n + 5) / n
    inverse = np.linalg.inv(factor)
    whitened = inverse @ sample_covariance @ inverse.T
    # A run as long as the last window, by the same kernel, tells the error of each entry.
    z = (np.asarray(samples.position, float) - 3.0) @ inverse.T
    products = z[..., :, None] * z[..., None, :]
    mcse = products.std((0, 1)) / np.sqrt(effective_sample_size(products))
    if not dense:
        mcse = np.where(np.eye(DIM, dtype=bool), mcse, 1e-6)
    assert (np.abs(whitened - np.eye(DIM)) < 5 * mcse).all()
    assert mcse.max() < 0.1
    assert_acceptance_is_near(samples, warmup, target)
    return warmup


def test_mala_learns_a_correlated_gaussian(x64):
    factor = correlated_factor()
    warmup = check_recovery(pmc.mala(gaussian(factor), 1.0), factor, 0.8)
    assert warmup.inverse_mass_matrix.dtype == warmup.step_sizes.dtype == np.float64


@pytest.mark.slow
def test_mala_learns_a_correlated_gaussian_from_afar(x64):
    factor = correlated_factor()
    check_recovery(pmc.mala(gaussian(factor), 1.0), factor, 0.8, far=10.0)


@pytest.mark.slow
def test_hmc_learns_a_correlated_gaussian_in_single_precision():
    factor = correlated_factor()
    warmup = check_recovery(pmc.hmc(gaussian(factor), 1.0, None, 5), factor, 0.9)
    assert warmup.inverse_mass_matrix.dtype == warmup.step_sizes.dtype == np.float32


def test_diagonal_metric_learns_the_variances():
    factor = np.diag(SCALES)
    warmup = check_recovery(pmc.mala(gaussian(factor), 1.0), factor, 0.8, dense=False)
    assert isinstance(warmup.kernel.metric, DiagonalMetric)


def test_result_is_consistent():
    warmup = window_adaptation(*ARGUMENTS, num_chains=2)
    assert warmup.kernel.logdensity_fn is KERNEL.logdensity_fn
    assert isinstance(warmup.kernel.metric, DenseMetric)
    assert warmup.step_size == warmup.kernel.step_size
    assert warmup.acceptance_rate.shape == (40,) and warmup.step_sizes.shape == (2, 40)
    assert warmup.position.shape == (2, 3)
    expected = jax.vmap(KERNEL.init)(warmup.state.position)
    for ours, fresh in zip(warmup.state, expected, strict=True):
        np.testing.assert_allclose(ours, fresh, rtol=1e-5, atol=1e-5)
    # The given kernel stays as it is.
    assert KERNEL.step_size == np.float32(0.3)
    assert KERNEL.metric.dim is None


def test_one_chain_and_a_pytree_position():
    def logdensity(position):
        return normal(position["a"]) + normal(position["b"] / 3.0)

    start = {"a": jnp.zeros(2), "b": jnp.zeros((2, 2))}
    warmup = window_adaptation(jax.random.key(0), pmc.mala(logdensity, 0.3), start, 100)
    assert warmup.inverse_mass_matrix.shape == (6, 6)
    assert jax.tree.map(jnp.shape, warmup.state.position) == {"a": (1, 2), "b": (1, 2, 2)}
    assert jax.tree.map(jnp.shape, warmup.position) == jax.tree.map(jnp.shape, start)
    samples = pmc.sample(jax.random.key(1), warmup.kernel, warmup.position, 10, progress_bar=False)
    assert np.isfinite(samples.position["b"]).all()


@pytest.mark.parametrize(
    ("given", "dense", "expected"),
    [
        (None, True, np.eye(2)),
        ([1.0, 4.0], True, np.diag([1.0, 4.0])),
        ([[1.0, 0.5], [0.5, 4.0]], True, [[1.0, 0.5], [0.5, 4.0]]),
        (None, False, [1.0, 1.0]),
        ([1.0, 4.0], False, [1.0, 4.0]),
        ([[1.0, 0.5], [0.5, 4.0]], False, [1.0, 4.0]),
    ],
)
def test_starts_from_the_kernels_own_metric(given, dense, expected):
    kernel = pmc.mala(normal, 0.3, None if given is None else jnp.array(given))
    first = Covariance(dense).first(kernel.metric, 2, jnp.float32)
    np.testing.assert_allclose(first.inverse_mass_matrix(), expected, rtol=1e-6)


def test_step_size_alone():
    kernel = pmc.mala(normal, 0.3, jnp.array([1.0, 4.0, 9.0]))
    arguments = jax.random.key(0), kernel, *ARGUMENTS[2:]
    warmup = window_adaptation(*arguments, num_chains=2, adapt_mass_matrix=False)
    np.testing.assert_allclose(warmup.inverse_mass_matrix, [1.0, 4.0, 9.0], rtol=1e-6)
    assert len(np.unique(warmup.step_sizes[0])) > 5


@pytest.mark.slow
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("make", [lambda f: pmc.mala(f, 1.0), lambda f: pmc.hmc(f, 1.0, None, 4)])
def test_parallel_and_sequential_warmups_are_the_same(x64, make, dense):
    """The promise of the package, for the adaptation: equal up to rounding, not up to noise."""
    kernel = make(gaussian(np.diag(SCALES)))
    start = 3.0 + np.random.default_rng(0).normal(size=(2, DIM)) * SCALES
    arguments = jax.random.key(0), kernel, jnp.asarray(start), 500
    options = {"num_chains": 2, "dense": dense, "keep_draws": True}
    sequential = window_adaptation(*arguments, solver="sequential", **options)
    parallel = window_adaptation(*arguments, solver="parallel", **options)
    np.testing.assert_allclose(parallel.step_size, sequential.step_size, rtol=1e-6)
    np.testing.assert_allclose(
        parallel.inverse_mass_matrix, sequential.inverse_mass_matrix, rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(parallel.step_sizes, sequential.step_sizes, rtol=1e-6)
    whitened = (parallel.draws.position - sequential.draws.position) / SCALES
    assert np.abs(whitened).max() < 1e-6
    # They were found in different ways.
    assert (np.asarray(sequential.stats.iterations) == 0).all()
    assert (np.asarray(parallel.stats.iterations) < 500).all()
    assert parallel.stats.converged.all() and (np.asarray(parallel.stats.fallback_steps) == 0).all()


@pytest.mark.slow
def test_a_warmup_whose_stages_do_not_fill_their_blocks(x64):
    """What a block makes beyond its stage is dropped."""
    kernel = pmc.mala(normal, 0.3)
    arguments = jax.random.key(0), kernel, jnp.zeros((2, 3)), 163
    options = {"num_chains": 2, "keep_draws": True}
    sequential = window_adaptation(*arguments, solver="sequential", **options)
    parallel = window_adaptation(*arguments, solver="parallel", window=7, **options)
    assert parallel.draws.position.shape == (2, 163, 3)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7),
        (parallel.draws.position, parallel.acceptance_rate, parallel.step_sizes, parallel.state),
        (
            sequential.draws.position,
            sequential.acceptance_rate,
            sequential.step_sizes,
            sequential.state,
        ),
    )


@pytest.mark.slow
def test_chains_share_a_step_size_from_the_last_window_on():
    warmup = window_adaptation(*ARGUMENTS[:3], 300, num_chains=2)
    ends = np.flatnonzero(build_schedule(300).is_window_end)
    assert len(ends) > 1
    first, second = warmup.step_sizes
    begin = ends[-2] + 1
    assert (first[:begin] != second[:begin]).mean() > 0.9
    np.testing.assert_array_equal(first[begin:], second[begin:])


def test_metric_alone():
    warmup = window_adaptation(*ARGUMENTS, num_chains=2, adapt_step_size=False)
    assert (warmup.step_sizes == np.float32(0.3)).all() and warmup.step_size == np.float32(0.3)
    assert (warmup.inverse_mass_matrix != jnp.eye(3)).all()


def test_chains_that_never_move_keep_a_usable_kernel():
    """A proposal with a NaN log density is rejected, and counts as such."""
    kernel = pmc.mala(lambda x: jnp.where(jnp.all(x == 0), normal(x), jnp.nan), 0.3)
    warmup = window_adaptation(jax.random.key(0), kernel, jnp.zeros((2, 3)), 40, num_chains=2)
    assert (np.asarray(warmup.state.position) == 0).all()
    assert np.isfinite(warmup.acceptance_rate).all() and (warmup.acceptance_rate == 0).all()
    assert np.isfinite(warmup.inverse_mass_matrix).all()


def test_progress_bar_changes_nothing(capsys):
    quiet = window_adaptation(*ARGUMENTS, num_chains=2)
    assert capsys.readouterr().err == ""
    shown = window_adaptation(*ARGUMENTS, num_chains=2, progress_bar=True)
    assert "40/40" in capsys.readouterr().err
    np.testing.assert_array_equal(quiet.step_sizes, shown.step_sizes)
    np.testing.assert_array_equal(quiet.state.position, shown.state.position)


def test_legacy_keys_are_accepted():
    legacy = window_adaptation(jax.random.PRNGKey(0), *ARGUMENTS[1:], num_chains=2)
    typed = window_adaptation(*ARGUMENTS, num_chains=2)
    np.testing.assert_array_equal(legacy.state.position, typed.state.position)


def test_second_call_does_not_compile_again():
    traces = []

    def logdensity(x):
        traces.append(None)
        return normal(x)

    kernel, start = pmc.mala(logdensity, 0.3), jnp.zeros((2, 3))
    window_adaptation(jax.random.key(0), kernel, start, 40, num_chains=2)
    first = len(traces)
    other = dataclasses.replace(kernel, step_size=jnp.asarray(0.1))
    window_adaptation(
        jax.random.key(1),
        other,
        start + 1,
        40,
        num_chains=2,
        target_acceptance_rate=0.6,
        progress_bar=True,
    )
    assert len(traces) == first


def test_can_be_traced():
    @jax.jit
    @jax.vmap
    def warm_up(key, positions):
        warmup = window_adaptation(key, KERNEL, positions, 40, num_chains=3)
        return warmup.step_size, warmup.inverse_mass_matrix

    step_size, matrix = warm_up(jax.random.split(jax.random.key(0), 2), jnp.zeros((2, 3, 4)))
    assert step_size.shape == (2,) and matrix.shape == (2, 4, 4)
    assert np.isfinite(step_size).all() and (np.linalg.eigvalsh(matrix) > 0).all()


@dataclasses.dataclass(frozen=True)
class Untunable:
    step_size: float = 0.1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"key": 0}, TypeError, "key must be a key of jax.random.key"),
        ({"kernel": Untunable()}, TypeError, "fields step_size and metric.*got Untunable"),
        ({"kernel": pmc.mala}, TypeError, "fields step_size and metric.*got function"),
        ({"num_steps": 0}, ValueError, "num_steps must be a positive integer, got 0"),
        ({"num_steps": 1.5}, ValueError, "num_steps must be a positive integer, got 1.5"),
        ({"num_chains": 0}, ValueError, "num_chains must be a positive integer, got 0"),
        ({"target_acceptance_rate": 0.0}, ValueError, "target_acceptance_rate.*between 0 and 1"),
        ({"target_acceptance_rate": 1}, ValueError, "target_acceptance_rate.*between 0 and 1"),
        ({"target_acceptance_rate": np.nan}, ValueError, "target_acceptance_rate.*got nan"),
        ({"target_acceptance_rate": "0.8"}, ValueError, "target_acceptance_rate.*got '0.8'"),
        ({"num_chains": 3}, ValueError, "initial_position must have a leading axis of num_chains"),
        ({"initial_position": jnp.full(2, jnp.nan)}, ValueError, "initial_position must be finite"),
        ({"initial_position": jnp.full(2, 1e30)}, ValueError, "a finite log density and gradient"),
        (
            {"kernel": pmc.mala(normal, 0.1, jnp.ones(3))},
            ValueError,
            "inverse_mass_matrix is for 3 dimensions, the position has 2",
        ),
    ],
)
def test_rejects(change, error, message):
    arguments = {
        "key": jax.random.key(0),
        "kernel": pmc.mala(normal, 0.1),
        "initial_position": jnp.zeros(2),
        "num_steps": 10,
    }
    with pytest.raises(error, match=message):
        window_adaptation(**(arguments | change))


def test_kept_draws_are_those_of_the_chains():
    warmup = window_adaptation(*ARGUMENTS, num_chains=2, keep_draws=True)
    draws = warmup.draws
    assert draws.position.shape == (2, 40, 3)
    np.testing.assert_allclose(draws.logdensity, jax.vmap(jax.vmap(normal))(draws.position), 1e-4)
    np.testing.assert_allclose(draws.info.acceptance_rate.mean(0), warmup.acceptance_rate, 1e-6)
    # A change of the metric rounds a position that stays.
    before, after = draws.position[:, :-1], draws.position[:, 1:]
    moved = ~np.isclose(after, before, rtol=1e-5, atol=1e-6).all(-1)
    np.testing.assert_array_equal(moved, draws.info.is_accepted[:, 1:])
    np.testing.assert_allclose(draws.position[:, -1], warmup.state.position, rtol=1e-4, atol=1e-6)
    plain = window_adaptation(*ARGUMENTS, num_chains=2)
    assert plain.draws is None
    np.testing.assert_allclose(plain.step_size, warmup.step_size, rtol=1e-5)


def test_structure_of_the_metric():
    structure = np.eye(3, dtype=bool)
    structure[0, 2] = structure[2, 0] = True
    warmup = window_adaptation(*ARGUMENTS, num_chains=2, structure=structure)
    matrix = np.asarray(warmup.inverse_mass_matrix)
    np.testing.assert_array_equal(matrix != 0, structure)


@pytest.mark.parametrize("structure, dense", [(np.ones((2, 2), bool), True), (np.eye(3), True)])
def test_wrong_structure(structure, dense):
    with pytest.raises(ValueError, match="structure must be a boolean matrix of shape .3, 3."):
        window_adaptation(*ARGUMENTS, num_chains=2, structure=structure, dense=dense)


def test_without_regularisation_and_search():
    """The metric is then the covariance of the window's draws, whose count is 30 * 2."""
    arguments = {"num_chains": 2, "keep_draws": True, "dense": False, "find_step_size": False}
    warmup = window_adaptation(*ARGUMENTS, **arguments, regularise=False)
    slow = build_schedule(40).is_slow
    draws = np.asarray(warmup.draws.position)[:, slow].reshape(-1, 3)
    np.testing.assert_allclose(warmup.inverse_mass_matrix, draws.var(0, ddof=1), rtol=1e-4)
    # Without a search the first step is that of the kernel.
    np.testing.assert_allclose(warmup.step_sizes[:, 0], 0.3, rtol=1e-6)
