import inspect
import warnings

import blackjax
import blackjax_algorithms as benchmark
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.blackjax import NotParallelWarning, run_inference_algorithm

STEPS = 500
FAST = ["hmc", "mala"]
# What the iterations do not find of these within their budget, the loop finishes.
UNFINISHED = ["barker", "ghmc"]

theirs = blackjax.util.run_inference_algorithm


def logdensity(x):
    return -0.5 * jnp.sum((x["a"] / jnp.array([0.5, 1.0, 2.0])) ** 2) - 0.5 * (x["b"] - 1) ** 2


# Of NumPy, to be in the precision of the test and not in that of the import.
POSITION = {"a": np.ones(3), "b": 1.0}


def hmc(step_size=0.3):
    return blackjax.hmc(logdensity, step_size, jnp.ones(4), 5)


def states_of(algorithm, count):
    keys = jax.random.split(jax.random.key(7), count)
    return jax.vmap(
        lambda key: algorithm.init({"a": jax.random.normal(key, (3,)), "b": jnp.array(1.0)}, key)
    )(keys)


def assert_same(ours, wanted, tolerance):
    assert jax.tree.structure(ours) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)
        for name in benchmark.algorithms()
    ],
)
def test_every_algorithm_gives_the_chain_of_blackjax(x64, name):
    # Made again: those above are of single precision.
    algorithm = benchmark.algorithms()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotParallelWarning)
        run, positions, infos = benchmark.compare(algorithm, jax.random.key(0), STEPS)
    assert positions < 1e-6
    assert infos < 1e-6
    assert int(run.iterations) > 0
    if name not in UNFINISHED:
        assert int(run.fallback_steps) == 0


@pytest.mark.parametrize("solver", ["auto", "sequential"])
def test_the_loop_is_bitwise_that_of_blackjax_compiled(solver):
    key, algorithm = jax.random.PRNGKey(3), hmc()
    state = jax.tree.map(lambda leaf: leaf[0], states_of(algorithm, 1))
    ours = run_inference_algorithm(key, algorithm, 50, initial_state=state, solver=solver)
    # Older versions of BlackJAX leave it to the caller to compile their loop.
    wanted = jax.jit(lambda key, state: theirs(key, algorithm, 50, initial_state=state))
    assert_same(ours, wanted(key, state), 0)


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
def test_initial_position(x64, solver):
    key, algorithm = jax.random.key(3), hmc()
    ours = run_inference_algorithm(key, algorithm, 50, initial_position=POSITION, solver=solver)
    assert_same(ours, theirs(key, algorithm, 50, initial_position=POSITION), 1e-6)


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
@pytest.mark.parametrize("name", ["hmc", pytest.param("dynamic_hmc", marks=pytest.mark.slow)])
def test_under_jit_and_vmap(x64, name, solver):
    algorithm = hmc() if name == "hmc" else blackjax.dynamic_hmc(logdensity, 0.3, jnp.ones(4))
    states, keys = states_of(algorithm, 3), jax.random.split(jax.random.key(1), 3)

    def run(loop, **options):
        return jax.vmap(lambda k, s: loop(k, algorithm, 60, initial_state=s, **options))

    wanted = run(theirs)(keys, states)
    ours = run(run_inference_algorithm, solver=solver, progress_bar=True)
    assert_same(jax.jit(ours)(keys, states), wanted, 1e-6)


# What our loop knows as well.
KEEP = {
    "hmc": lambda state, info: (state.position, info.acceptance_rate, info.energy),
    "mala": lambda state, info: (state.position, info.is_accepted),
}


@pytest.mark.parametrize("count", [60, 300])
@pytest.mark.parametrize("name", ["hmc", "mala"])
def test_our_loop_under_jit_and_vmap(x64, name, count):
    """Without the proposals, it is the package's own loop where the call is traced."""
    algorithm = hmc() if name == "hmc" else blackjax.mala(logdensity, 0.3)
    states, keys = states_of(algorithm, 3), jax.random.split(jax.random.key(1), 3)

    def run(loop):
        return jax.jit(
            jax.vmap(lambda k, s: loop(k, algorithm, count, initial_state=s, transform=KEEP[name]))
        )

    wanted = run(theirs)(keys, states)
    assert_same(run(run_inference_algorithm)(keys, states), wanted, 1e-8)


@pytest.mark.parametrize("count", [60, 300])
def test_gradients_of_a_log_density_that_closes_over_a_tracer(x64, count):
    state = blackjax.mala.init(jnp.ones(2), lambda x: -0.5 * jnp.sum(x**2))

    def last(loop, scale):
        algorithm = blackjax.mala(lambda x: -0.5 * jnp.sum((x / scale) ** 2), 0.1)
        options = {"initial_state": state, "transform": KEEP["mala"]}
        return loop(jax.random.key(0), algorithm, count, **options)[1][0][-1, 0]

    ours, wanted = (
        jax.grad(lambda scale, loop=loop: last(loop, scale))(2.0)
        for loop in (run_inference_algorithm, theirs)
    )
    assert jnp.isfinite(wanted) and wanted != 0
    np.testing.assert_allclose(ours, wanted, rtol=1e-8)


@pytest.mark.slow
def test_a_setting_may_be_traced(x64):
    state = jax.tree.map(lambda leaf: leaf[0], states_of(hmc(), 1))

    def run(loop, **options):
        return lambda step_size: loop(
            jax.random.key(0), hmc(step_size), 60, initial_state=state, **options
        )

    step_sizes = jnp.array([0.2, 0.3])
    ours = jax.vmap(run(run_inference_algorithm, solver="parallel"))(step_sizes)
    assert_same(ours, jax.vmap(run(theirs))(step_sizes), 1e-6)


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
def test_transform(x64, solver):
    key, algorithm = jax.random.key(0), hmc()

    def transform(state, info):
        return {"square": state.position["b"] ** 2, "rate": info.acceptance_rate, "one": 1}

    arguments = {"initial_position": POSITION, "transform": transform}
    ours = run_inference_algorithm(key, algorithm, 60, **arguments, solver=solver)
    assert_same(ours, theirs(key, algorithm, 60, **arguments), 1e-6)


@pytest.mark.parametrize("solver", ["sequential", pytest.param("parallel", marks=pytest.mark.slow)])
def test_progress_bar_changes_nothing(x64, capsys, solver):
    def last(state, info):
        return state.position["b"]

    key, algorithm = jax.random.key(0), hmc()
    plain = run_inference_algorithm(
        key, algorithm, 200, None, POSITION, last, solver=solver, window=50
    )
    for order in [(last, True), (True, last)]:
        ours = run_inference_algorithm(
            key, algorithm, 200, None, POSITION, *order, solver=solver, window=50
        )
        assert_same(ours, plain, 1e-6)
        assert "200/200" in capsys.readouterr().err


# In a long window not every state is an unknown.
@pytest.mark.parametrize("window", [None, 300])
def test_a_step_without_information(x64, window):
    def step(rng_key, position):
        noise = jax.random.normal(rng_key, position.shape, position.dtype)
        return 0.8 * position + 0.1 * jnp.sin(position) + noise, None

    algorithm = blackjax.SamplingAlgorithm(lambda position, rng_key=None: position, step)
    runs = [
        run(jax.random.key(1), algorithm, 300, initial_position=np.ones(3), **options)
        for run, options in [
            (theirs, {}),
            (run_inference_algorithm, {"solver": "parallel", "window": window}),
        ]
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8), *runs)


def test_a_method_of_the_users(x64):
    key, algorithm = jax.random.key(0), blackjax.nuts(logdensity, 0.5, jnp.ones(4))
    ours = run_inference_algorithm(
        key, algorithm, 60, initial_position=POSITION, solver=pmc.jacobi(), window=20
    )
    assert_same(ours, theirs(key, algorithm, 60, initial_position=POSITION), 1e-6)


@pytest.mark.parametrize("solver", ["sequential", "parallel"])
def test_traces_once_for_each_algorithm(solver):
    traces = []

    def counted(x):
        traces.append(x)
        return -0.5 * jnp.sum(x**2)

    algorithm = blackjax.mala(counted, 0.3)
    state = algorithm.init(jnp.ones(2))

    def run(seed):
        return run_inference_algorithm(
            jax.random.key(seed), algorithm, 40, initial_state=state, solver=solver
        )

    run(0)
    count = len(traces)
    run(1)
    assert len(traces) == count


def test_no_steps():
    algorithm = hmc()
    state = algorithm.init({"a": jnp.ones(3), "b": jnp.array(1.0)})
    final, (states, _) = run_inference_algorithm(
        jax.random.key(0), algorithm, 0, initial_state=state, solver="parallel"
    )
    assert_same(final, state, 0)
    assert states.position["a"].shape == (0, 3)


def integer_position():
    def propose(key, x):
        return x + jax.random.randint(key, (), -2, 3)

    return blackjax.rmh(lambda x: -0.1 * x**2, propose), 0


def noisy_step():
    algorithm = hmc()

    def step(key, state):
        jax.debug.callback(lambda x: None, state.position["b"])
        return algorithm.step(key, state)

    return blackjax.base.SamplingAlgorithm(algorithm.init, step), POSITION


def variational():
    return blackjax.meanfield_vi(logdensity, optax.sgd(1e-2), 3), POSITION


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (integer_position, "no floating-point entry"),
        (noisy_step, "side effects"),
        (variational, "variational"),
    ],
)
def test_what_cannot_be_solved_runs_sequentially_with_a_warning(x64, make, reason):
    algorithm, position = make()
    key = jax.random.key(0)
    state = algorithm.init(position)
    with pytest.warns(NotParallelWarning, match=reason) as caught:
        ours = run_inference_algorithm(key, algorithm, 20, initial_state=state, solver="parallel")
    assert caught[0].filename == __file__
    assert_same(ours, theirs(key, algorithm, 20, initial_state=state), 1e-9)


def test_warns_of_steps_that_the_loop_finished():
    def swap(key, x):
        return x + jax.random.normal(key, x.shape)

    algorithm = blackjax.rmh(lambda x: -0.5 * jnp.sum(x**2), swap)
    method = pmc.jacobi()
    with pytest.warns(pmc.SequentialFallbackWarning, match="of 400 steps"):
        run_inference_algorithm(
            jax.random.key(0),
            algorithm,
            400,
            initial_position=jnp.zeros(2),
            solver=method,
            window=400,
        )


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "rng_key must be", {"rng_key": 0}),
        (TypeError, "inference_algorithm must be", {"inference_algorithm": blackjax.hmc}),
        (TypeError, "transform must be callable", {"transform": "position"}),
        (ValueError, "num_steps must be", {"num_steps": -1}),
        (ValueError, "num_steps must be", {"num_steps": 2.5}),
        (ValueError, "solver must be", {"solver": "newton"}),
        (ValueError, "window must be", {"window": 0}),
        (ValueError, "exactly one of initial_state", {"initial_position": None}),
        (ValueError, "exactly one of initial_state", {"initial_state": ()}),
    ],
)
def test_rejects(error, message, change):
    arguments = {
        "rng_key": jax.random.key(0),
        "inference_algorithm": hmc(),
        "num_steps": 10,
        "initial_position": POSITION,
    } | change
    with pytest.raises(error, match=message):
        run_inference_algorithm(**arguments)


def test_signature_is_that_of_blackjax_and_more():
    ours = inspect.signature(run_inference_algorithm).parameters
    wanted = inspect.signature(theirs).parameters
    assert [name for name in ours if name in wanted][:5] == list(wanted)[:5]
    assert set(wanted) <= set(ours)
    extra = [ours[name] for name in set(ours) - set(wanted) - {"progress_bar"}]
    assert {p.name for p in extra if p.kind is p.KEYWORD_ONLY} == {"solver", "window"}
