import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solver_reference import loop, problem, step

import parallel_mcmc as pmc
from parallel_mcmc.solver import strides
from parallel_mcmc.solver.buffers import in_parts
from parallel_mcmc.solver.recurrence import Recurrence, Steps, plain_recurrence
from parallel_mcmc.solver.system import solve_recurrence

T = 103
"""A prime: no stride divides it."""


@pytest.mark.parametrize("jacobian", [pmc.Dense(), pmc.Diagonal(), pmc.Zero()])
@pytest.mark.parametrize(("stride", "window"), [(2, None), (7, None), (4, 32), (200, None)])
def test_the_states_are_those_of_the_loop(x64, jacobian, stride, window):
    start, inputs = problem(jnp.float64, length=T)
    method = pmc.Newton(jacobian, stride=stride)
    found = pmc.solve(step, start, inputs, method=method, window=window)
    assert bool(found.converged) and int(found.fallback_steps) == 0
    for ours, theirs in zip(
        jax.tree.leaves(found.states), jax.tree.leaves(loop(step, start, inputs)), strict=True
    ):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    assert pmc.verify(found).max() < 1e-8


def test_what_enters_a_window_goes_on_by_the_single_steps(x64):
    """The steps are affine: what the first window shows of them holds for the rest."""
    matrix = jnp.array([[0.7, 0.2], [-0.3, 0.9]])

    def affine(x, u):
        return matrix @ x + jnp.array([1.0, -2.0]) * u

    drives = jax.random.normal(jax.random.key(0), (400,))
    recurrence = strides.strided(plain_recurrence(affine), 4)
    bundles = in_parts(drives, 4)
    assert recurrence.continues(bundles, 8, 2) and not recurrence.continues(bundles, 1, 2)
    start = jnp.array([1.0, 2.0])
    every = loop(affine, start, drives)
    unknown = every[3::4]
    before = jnp.concatenate([start[None], unknown[:-1]])
    values, aux = jax.vmap(recurrence.step)(before[:8], bundles[:8])
    made = Steps(before[:8], bundles[:8], values, aux)
    found = recurrence.continued(None, made, bundles[8:16], unknown[7], jnp.full(2, 1e6))
    np.testing.assert_allclose(found, unknown[8:16], atol=1e-5)


def test_a_window_that_slides_by_strides_takes_fewer_iterations_by_a_fit(x64):
    def drift(x, u):
        return 0.95 * x + 0.1 * jnp.sin(x) + u[0]

    drives = jax.random.normal(jax.random.key(0), (600, 2))
    settings = {"method": pmc.Newton(stride=4), "window": 64}
    found = pmc.solve(drift, jnp.zeros(2), (drives,), **settings)
    np.testing.assert_allclose(found.states, loop(drift, jnp.zeros(2), (drives,)), atol=1e-7)
    # A key among the inputs has no linear effect: the state stays.
    keys = jax.random.split(jax.random.key(1), 600)
    repeated = pmc.solve(drift, jnp.zeros(2), (drives, keys), **settings)
    assert int(found.iterations) < 0.95 * int(repeated.iterations)


def test_k_iterations_make_k_strides_exact():
    """Errors neither shrink nor grow, and no model of the Jacobian helps: 24 = 6 strides of 4."""
    found = pmc.solve(
        lambda x, u: x + u,
        jnp.zeros(1),
        jnp.arange(1.0, 25.0)[:, None],
        method=pmc.Newton(pmc.Zero(), stride=4),
    )
    assert int(found.iterations) == 6
    assert int(found.evaluations) == 6 * 24
    np.testing.assert_array_equal(found.states[:, 0], np.cumsum(np.arange(1.0, 25.0)))


@pytest.mark.parametrize("budget", [1, 3])
def test_the_loop_finishes_the_steps_that_are_left(budget):
    inputs = jnp.arange(1.0, 23.0)[:, None]
    with pytest.warns(pmc.SequentialFallbackWarning, match=f"{22 - 4 * budget} of 22"):
        found = pmc.solve(
            lambda x, u: x + u,
            jnp.zeros(1),
            inputs,
            method=pmc.Newton(pmc.Zero(), stride=4),
            max_iterations=budget,
        )
    assert int(found.fallback_steps) == 22 - 4 * budget
    # A window of 22 is rounded up to six strides.
    assert int(found.evaluations) == budget * 24 + 22 - 4 * budget
    np.testing.assert_array_equal(found.states[:, 0], np.cumsum(np.arange(1.0, 23.0)))


def test_edges_within_a_stride_are_certified(x64):
    """The first step keeps an error that the whole stride forgets: its edge is to be right too."""
    inputs = jax.random.normal(jax.random.key(0), (400, 2))
    factors = jnp.tile(jnp.array([1.0, 0.01, 1.0, 0.1]), 100)[:, None] * jnp.ones(2)

    def forgets(x, step):
        factor, noise = step
        return factor * (x + 0.5 * jnp.sin(x)) + noise

    # Jacobi's iterates come slowly nearer, so that one is accepted at its first chance.
    method = pmc.Newton(pmc.Zero(), stride=4)
    settings = {"method": method, "tolerance": 1e-3, "scale": 1.0}
    found = pmc.solve(forgets, jnp.zeros(2), (factors, inputs), **settings)
    assert bool(found.converged)
    assert pmc.verify(found).max() <= 1.5e-3


def test_an_exact_guess_is_found_at_once(x64):
    start, inputs = problem(jnp.float64, length=T)
    found = pmc.solve(
        step,
        start,
        inputs,
        method=pmc.Newton(stride=5),
        initial_guess=loop(step, start, inputs),
    )
    assert int(found.iterations) == 1


def test_derivatives_are_those_of_the_loop(x64):
    start, inputs = problem(jnp.float64, length=T)

    def total(run):
        return lambda u: sum(jnp.sum(jnp.sin(run(u)[name])) for name in ("x", "y"))

    strided = total(lambda u: pmc.solve(step, start, u, method=pmc.Newton(stride=4)).states)
    np.testing.assert_allclose(
        jax.grad(strided)(inputs),
        jax.grad(total(lambda u: loop(step, start, u)))(inputs),
        atol=1e-7,
    )


MODELS = {
    "scalar": lambda a: a[0, 0],
    "diagonal": jnp.diagonal,
    "matrix": lambda a: a,
    "blocks": lambda a: jnp.einsum("iaja->ija", a.reshape(2, 2, 2, 2)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_single_steps_are_multiplied_in_their_order(x64, kind):
    """The model of a bundle is the product of what the model says where each step was made."""
    seen = jax.random.normal(jax.random.key(0), (3, 4, 4))
    if kind == "blocks":
        # The blocks hold all there is where halves are coupled coordinate by coordinate.
        eye = jnp.eye(2)
        halves = jax.random.normal(jax.random.key(1), (3, 2, 2))
        seen = jax.vmap(lambda h: jnp.kron(h, eye))(halves)
    if kind in ("scalar", "diagonal"):
        seen = jax.vmap(lambda m: jnp.diag(jnp.diagonal(m)))(seen)
    model = MODELS[kind]
    recurrence = plain_recurrence(lambda x, a: a @ x)
    bundle = strides.strided(recurrence, 3)
    start = jnp.ones(4)
    value, aux = bundle.step(start, seen)
    product = bundle.modelled(
        lambda x, a, following, aux: model(a),
        start[None],
        seen[None],
        value[None],
        jax.tree.map(lambda leaf: leaf[None], aux),
    )[0]
    np.testing.assert_allclose(product, model(seen[2] @ seen[1] @ seen[0]), rtol=1e-12)
    np.testing.assert_allclose(value, seen[2] @ seen[1] @ seen[0] @ start, rtol=1e-12)


def test_a_model_sees_the_states_that_were_passed(x64):
    """A surrogate that is the derivative of every step makes the iteration Newton's."""
    inputs = jax.random.normal(jax.random.key(0), (96, 2))
    step = lambda x, u: 0.9 * jnp.sin(x) + u  # noqa: E731
    exact = pmc.Newton(pmc.Surrogate(lambda x, u, following: 0.9 * jnp.cos(x)), stride=4)
    found = pmc.solve(step, jnp.zeros(2), inputs, method=exact)
    dense = pmc.solve(step, jnp.zeros(2), inputs, method=pmc.Newton(stride=4))
    assert abs(int(found.iterations) - int(dense.iterations)) <= 1
    np.testing.assert_allclose(found.states, loop(step, jnp.zeros(2), inputs), atol=1e-8)


def test_the_narrowest_decision_of_a_bundle_counts():
    def decides(x, u):
        return x + u, u

    recurrence = Recurrence(decides, plain_recurrence(decides).chart, margin=jnp.abs)
    bundle = strides.strided(recurrence, 3)
    _, aux = bundle.step(jnp.zeros(()), jnp.array([0.5, -0.1, 2.0]))
    np.testing.assert_allclose(bundle.margin(aux), 0.1)


def test_records_are_of_every_step():
    def recorded(x, u):
        return 0.5 * x + u, 10 * u

    recurrence = Recurrence(recorded, plain_recurrence(recorded).chart)
    inputs = jnp.arange(11.0)[:, None]
    solution, records = solve_recurrence(
        recurrence,
        pmc.Newton(stride=4),
        jnp.zeros(1),
        inputs,
        window=11,
        max_iterations=20,
        tolerance=1e-5,
    )
    np.testing.assert_array_equal(records, 10 * inputs)
    assert solution.states.shape == (11, 1)


@pytest.mark.parametrize(
    ("length", "stride"), [(1, 1), (3, 1), (8, 4), (16, 8), (255, 8), (256, 4), (100_000, 4)]
)
def test_the_default_leaves_a_processor_enough_to_do(length, stride):
    assert strides.default_stride(length) == stride
    assert pmc.Newton().stride_of(length) == stride


def test_the_default_leaves_an_accelerator_more(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    lengths = (512, 2047, 2048, 4096, 2**16)
    assert [strides.default_stride(length) for length in lengths] == [1, 1, 2, 4, 4]


def test_the_methods_of_the_literature_find_every_state():
    for method in (pmc.jacobi(), pmc.picard(), pmc.deer(), pmc.quasi_deer(), pmc.elk()):
        assert method.stride_of(10_000) == 1


@pytest.mark.parametrize("stride", [0, -1, 1.5, "four"])
def test_a_stride_is_a_positive_integer(stride):
    with pytest.raises(ValueError, match="stride must be a positive integer, got"):
        pmc.Newton(stride=stride)
