import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import row_models
import workers
from jaxprs import equations_of, scans

from parallel_mcmc.rows import arranged as module
from parallel_mcmc.rows import plan
from parallel_mcmc.rows.arranged import all_rows_at_once, arranged

POINTS = np.random.default_rng(1).normal(size=(6, row_models.DIM))
BLOCK = 48


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    module._left_alone.clear()
    yield
    module._left_alone.clear()


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut everything that has more than a few rows."""
    monkeypatch.setattr(plan, "cache_bytes", lambda: 0)
    monkeypatch.setattr(plan, "FEWEST_ROWS", BLOCK + plan.ALIGNED_ROWS - 1)


@pytest.mark.parametrize("logdensity", row_models.SUMS, ids=lambda f: f.__name__)
def test_sums_over_rows_are_evaluated_in_blocks(logdensity, x64, small_blocks):
    function = jax.value_and_grad(logdensity)
    blocked = arranged(function)
    value, gradient = function(POINTS[0])
    # Four blocks, and one that is smaller.
    assert scans(blocked, POINTS[0]) == [4]
    for found in (blocked(POINTS[0]), jax.jit(blocked)(POINTS[0])):
        np.testing.assert_allclose(found[0], value, rtol=1e-12)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-11, atol=1e-12)
    alone = arranged(logdensity)
    assert scans(alone, POINTS[0]) == [4]
    np.testing.assert_allclose(alone(POINTS[0]), value, rtol=1e-12)


@pytest.mark.parametrize("logdensity", row_models.MIXED, ids=lambda f: f.__name__)
def test_what_mixes_rows_is_left_as_it_is(logdensity, x64, small_blocks):
    function = jax.value_and_grad(logdensity)
    assert scans(arranged(function), POINTS[0]) == scans(function, POINTS[0])
    found, expected = arranged(function)(POINTS[0]), function(POINTS[0])
    # Factors may have changed places.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


def test_rows_that_are_added_to_groups_are_added_in_blocks(x64, small_blocks):
    blocked = arranged(row_models.scattered)
    assert scans(blocked, POINTS[0]) == [4]
    np.testing.assert_allclose(blocked(POINTS[0]), row_models.scattered(POINTS[0]), rtol=1e-12)


def test_a_function_that_returns_rows_is_left_as_it_is(x64, small_blocks):
    def residuals(q):
        return jnp.asarray(row_models.DESIGN) @ q[: row_models.WIDTH]

    assert scans(arranged(residuals), POINTS[0]) == []
    np.testing.assert_array_equal(arranged(residuals)(POINTS[0]), residuals(POINTS[0]))


def test_a_parameter_for_every_row_is_left_as_it_is(x64, small_blocks):
    outcome = jnp.asarray(row_models.OUTCOME)

    def logdensity(q):
        return -0.5 * jnp.sum((outcome - q) ** 2)

    q = jnp.ones(row_models.ROWS)
    assert scans(arranged(logdensity), q) == []
    np.testing.assert_array_equal(arranged(logdensity)(q), logdensity(q))


def test_positions_may_be_any_pytree(x64, small_blocks):
    def logdensity(q):
        mean = jnp.asarray(row_models.DESIGN) @ q["slopes"] + q["rest"][0]
        return -0.5 * jnp.sum((jnp.asarray(row_models.OUTCOME) - mean) ** 2)

    position = {"slopes": jnp.ones(row_models.WIDTH), "rest": (jnp.array(0.3),)}
    function = jax.value_and_grad(logdensity)
    found, expected = arranged(function)(position), function(position)
    assert scans(arranged(function), position) == [4]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


@pytest.mark.parametrize("logdensity", row_models.SUMS, ids=lambda f: f.__name__)
def test_derivatives_are_those_of_the_function(logdensity, x64, small_blocks):
    gradient = arranged(jax.grad(logdensity))
    exact = jax.hessian(logdensity)(POINTS[0])
    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(derivative(gradient)(POINTS[0]), exact, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        jax.grad(arranged(logdensity))(POINTS[0]), jax.grad(logdensity)(POINTS[0]), rtol=1e-11
    )


def test_the_data_may_be_traced_and_differentiated_by(x64, small_blocks):
    q = jnp.asarray(POINTS[0][: row_models.WIDTH])

    def fit(design, outcome, wrapped):
        def logdensity(q):
            return -0.5 * jnp.sum((outcome - design @ q) ** 2)

        return wrapped(logdensity)(q)

    design, outcome = jnp.asarray(row_models.DESIGN), jnp.asarray(row_models.OUTCOME)

    def blocked(design, outcome):
        return fit(design, outcome, arranged)

    def whole(design, outcome):
        return fit(design, outcome, lambda f: f)

    assert scans(blocked, design, outcome) == [4]
    for transform in (jax.jit, jax.grad, lambda f: jax.grad(f, 1), jax.jit):
        np.testing.assert_allclose(
            transform(blocked)(design, outcome), transform(whole)(design, outcome), rtol=1e-12
        )
    for count in (3, 5):
        shift = jnp.arange(float(count))
        several = design + shift[:, None, None], outcome + shift[:, None]
        found, expected = jax.vmap(blocked)(*several), jax.vmap(whole)(*several)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("wide", [2, 1000])
@pytest.mark.parametrize("logdensity", row_models.SUMS, ids=lambda f: f.__name__)
def test_batches_of_batches(logdensity, wide, x64, small_blocks, monkeypatch):
    monkeypatch.setattr(plan, "WIDE", wide)
    function = jax.value_and_grad(logdensity)
    blocked = arranged(function)
    once, twice = POINTS, POINTS.reshape(2, 3, -1)
    for found, expected in (
        (jax.vmap(blocked)(once), jax.vmap(function)(once)),
        (jax.vmap(blocked)(once[:2]), jax.vmap(function)(once[:2])),
        (jax.vmap(jax.vmap(blocked))(twice), jax.vmap(jax.vmap(function))(twice)),
        (jax.vmap(blocked, 1, 0)(once.T), jax.vmap(function, 1, 0)(once.T)),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), found, expected
        )


@pytest.mark.parametrize("wide", [2, 1000])
def test_a_part_of_the_argument_may_be_the_same_for_an_axis_of_the_batch(
    wide, x64, small_blocks, monkeypatch
):
    monkeypatch.setattr(plan, "WIDE", wide)
    design, outcome = jnp.asarray(row_models.DESIGN), jnp.asarray(row_models.OUTCOME)

    def evaluate(q):
        error = outcome - design @ q["slopes"] - q["centre"]
        groups = jnp.full(row_models.GROUPS, q["centre"]).at[row_models.GROUP].add(error)
        return jnp.sum(outcome**2), jnp.sum(q["scale"] * error**2), groups

    q = {
        "slopes": POINTS[:, : row_models.WIDTH],
        "centre": jnp.arange(2.0),
        "scale": jnp.array(0.3),
    }
    inner = {"slopes": 0, "centre": None, "scale": None}
    outer = {"slopes": None, "centre": 0, "scale": None}

    def mapped(function):
        return jax.vmap(jax.vmap(function, (inner,)), (outer,))

    assert scans(mapped(arranged(evaluate)), q) == [4]
    found, expected = mapped(arranged(evaluate))(q), mapped(evaluate)(q)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


@pytest.mark.parametrize("logdensity", [row_models.linear, row_models.logistic])
def test_rows_of_many_positions_have_the_batch_last(logdensity, x64, small_blocks):
    blocked = jax.vmap(arranged(jax.value_and_grad(logdensity)))
    made = {
        (variable.aval.shape, equation.primitive.name)
        for equation in equations_of(blocked, POINTS)
        for variable in equation.outvars
    }
    rows_first = {name for shape, name in made if shape == (BLOCK, len(POINTS))}
    batch_first = {name for shape, name in made if shape == (len(POINTS), BLOCK)}
    assert {"dot_general", "sub", "mul"} <= rows_first
    # A number that is the same in all rows is spread out in any order: that makes no array.
    assert batch_first <= {"broadcast_in_dim"}


def test_rows_that_are_no_products_are_left_to_jax(x64, small_blocks):
    column = jnp.asarray(row_models.OUTCOME)
    blocked = jax.vmap(arranged(lambda q: jnp.sum(jnp.sin(q[0] + column))))
    assert scans(blocked, POINTS) == [4]
    made = [v for equation in equations_of(blocked, POINTS) for v in equation.outvars]
    shapes = {variable.aval.shape for variable in made}
    assert (len(POINTS), BLOCK) in shapes and (BLOCK, len(POINTS)) not in shapes


def test_a_batch_is_cut_where_its_own_numbers_fill_the_caches(x64, monkeypatch):
    monkeypatch.setattr(plan, "FEWEST_ROWS", BLOCK + plan.ALIGNED_ROWS - 1)
    data = 8 * row_models.ROWS * (row_models.WIDTH + 1)
    most = data + 3 * 8 * row_models.ROWS * 5
    monkeypatch.setattr(plan, "cache_bytes", lambda: most / plan.FILLED)
    monkeypatch.setattr(plan, "BLOCK_SHARE", 0)
    blocked = arranged(row_models.logistic)
    assert scans(blocked, POINTS[0]) == []
    assert scans(jax.vmap(blocked), POINTS[:5]) == []
    assert scans(jax.vmap(blocked), POINTS) == [4]
    assert scans(jax.vmap(jax.vmap(blocked)), POINTS.reshape(3, 2, -1)) == [4]
    assert scans(jax.vmap(jax.vmap(blocked)), POINTS[:4].reshape(2, 2, -1)) == []


def test_single_precision_is_kept(small_blocks):
    design = jnp.asarray(row_models.DESIGN, jnp.float32)

    def logdensity(q):
        return -0.5 * jnp.sum((design @ q - 1) ** 2)

    q = jnp.asarray(POINTS[0][: row_models.WIDTH], jnp.float32)
    value, gradient = arranged(jax.value_and_grad(logdensity))(q)
    assert value.dtype == gradient.dtype == jnp.float32
    np.testing.assert_allclose(gradient, jax.grad(logdensity)(q), rtol=1e-5)


def test_few_rows_are_left_as_they_are(x64):
    assert scans(arranged(row_models.logistic), POINTS[0]) == []


def test_what_is_left_alone_is_traced_once_for_that(x64):
    traced = []

    def logdensity(q):
        traced.append(q)
        return row_models.prior(q)

    evaluate = arranged(logdensity)
    evaluate(POINTS[0])
    assert len(traced) == 2
    evaluate(POINTS[0])
    arranged(logdensity)(POINTS[1])
    assert len(traced) == 4
    # Another shape is another question.
    evaluate(np.append(POINTS[0], 1.0))
    assert len(traced) == 6


def test_what_is_arranged_is_traced_once(x64):
    traced = []

    def logdensity(q):
        traced.append(q)
        return row_models.logistic(q)

    np.testing.assert_allclose(
        arranged(logdensity)(POINTS[0]), row_models.logistic(POINTS[0]), rtol=1e-12
    )
    assert len(traced) == 1
    assert not module._left_alone


@pytest.mark.parametrize("logdensity", row_models.SUMS, ids=lambda f: f.__name__)
def test_derivatives_are_those_of_the_function_in_one_piece(logdensity, x64):
    gradient = arranged(jax.grad(logdensity))
    exact = jax.hessian(logdensity)(POINTS[0])
    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(derivative(gradient)(POINTS[0]), exact, rtol=1e-10, atol=1e-10)


def test_a_function_that_hides_what_is_traced_is_not_kept(x64):
    def evaluated(scale, visible):
        def logdensity(scale, q):
            return -jnp.sum((q / scale) ** 2)

        function = functools.partial(logdensity, scale)
        if visible:
            function = jax.tree_util.Partial(logdensity, scale)
        return arranged(function)(POINTS[0])

    with jax.checking_leaks():
        jax.jit(evaluated, static_argnums=1)(2.0, False)
    assert not module._left_alone
    jax.jit(evaluated, static_argnums=1)(2.0, True)
    assert len(module._left_alone) == 1


def test_few_functions_are_remembered(x64, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    for shift in range(5):
        arranged(lambda q, shift=shift: jnp.sum(q) + shift)(POINTS[0])
    assert len(module._left_alone) == 3


def test_not_within_all_rows_at_once(x64, small_blocks):
    with all_rows_at_once():
        assert scans(arranged(row_models.logistic), POINTS[0]) == []
    assert scans(arranged(row_models.logistic), POINTS[0]) == [4]


def test_accelerators_have_no_such_caches(x64, small_blocks, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert scans(arranged(row_models.logistic), POINTS[0]) == []


def test_rows_that_are_on_several_devices_stay_there():
    worker = pathlib.Path(__file__).with_name("rows_worker.py")
    found = workers.results(worker, "data", "none")
    assert found["data"]["loops"] == [] and found["none"]["loops"] == [5]
    assert all(case["error"] < 1e-9 for case in found.values())


def test_side_effects_are_not_repeated(x64, small_blocks, capfd):
    def logdensity(q):
        jax.debug.print("evaluated")
        return row_models.logistic(q)

    arranged(logdensity)(POINTS[0])
    jax.effects_barrier()
    assert capfd.readouterr().out.count("evaluated") == 1
