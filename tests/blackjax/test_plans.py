import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.blackjax import plans
from parallel_mcmc.blackjax.generic import LARGEST_DENSE, NotSolvable
from parallel_mcmc.kernels.chain import InLanes, Sequential


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


KEYS = jax.random.split(jax.random.key(0), 10)


def keep_all(state, info):
    return state, info


def keep_known(state, info):
    return state.position, info.acceptance_rate


def plan(algorithm, solver="parallel", dim=2, keys=KEYS):
    state = algorithm.init(jnp.ones(dim))
    return plans.choose_plan(algorithm, solver, None, state, keys)


def plan_in_jit(algorithm, keys):
    """Return the plan for a run whose keys are traced."""
    made = []
    jax.eval_shape(lambda keys: made.append(plan(algorithm, "auto", keys=keys)), keys)
    return made[0]


def test_mala_and_hmc_are_solved_by_our_kernels():
    assert isinstance(plan(blackjax.mala(logdensity, 0.3)), plans.NativePlan)
    assert isinstance(plan(blackjax.hmc(logdensity, 0.3, jnp.ones(2), 3)), plans.NativePlan)
    assert isinstance(plan(blackjax.nuts(logdensity, 0.3, jnp.ones(2))), plans.GenericPlan)


@pytest.mark.parametrize("solver", ["sequential", "auto"])
def test_the_loop_on_a_cpu(solver):
    assert isinstance(plan(blackjax.mala(logdensity, 0.3), solver), plans.SequentialPlan)


def test_methods():
    given = pmc.jacobi()
    for algorithm in (blackjax.mala(logdensity, 0.3), blackjax.barker_proposal(logdensity, 0.3)):
        chosen = plan(algorithm, given)
        assert (chosen.runner if hasattr(chosen, "runner") else chosen).method == given
    small, large = (plan(blackjax.mala(logdensity, 0.3), dim=d) for d in (2, LARGEST_DENSE + 1))
    assert isinstance(small.runner.method.jacobian, pmc.Dense)
    assert isinstance(large.runner.method.jacobian, pmc.Surrogate)


def test_a_window_is_no_longer_than_the_chain():
    assert plan(blackjax.mala(logdensity, 0.3)).window == len(KEYS)
    assert plan(blackjax.barker_proposal(logdensity, 0.3)).window == len(KEYS)


def test_lanes_are_taken_where_they_are_found_faster(monkeypatch):
    """What the clock says decides."""
    keys = jax.random.split(jax.random.key(0), plans.LEAST_MEASURED)
    algorithm = blackjax.mala(logdensity, 0.3)
    asked = []

    def choose(solver, window, kernel, states, keys):
        asked.append((kernel, states, keys.shape))
        return InLanes(4, 128), None

    monkeypatch.setattr(plans, "choose", choose)
    chosen = plan(algorithm, "auto", keys=keys)
    assert isinstance(chosen, plans.NativePlan) and chosen.runner == InLanes(4, 128)
    ((_, states, shape),) = asked
    assert states.position.shape == (1, 2) and shape == (1, len(keys))
    assert isinstance(plan(algorithm, "auto", keys=keys[:-1]), plans.SequentialPlan)
    other = blackjax.barker_proposal(logdensity, 0.3)
    assert isinstance(plan(other, "auto", keys=keys), plans.SequentialPlan)
    plan_in_jit(algorithm, keys)
    assert len(asked) == 1


@pytest.mark.parametrize("count", [1, plans.LEAST_MEASURED])
def test_what_is_traced_is_made_by_a_loop(count):
    """Nothing can be timed."""
    keys = jax.random.split(jax.random.key(0), count)
    chosen = plan_in_jit(blackjax.mala(logdensity, 0.3), keys)
    assert isinstance(chosen, plans.LoopPlan) and chosen.window == 1
    other = blackjax.barker_proposal(logdensity, 0.3)
    assert isinstance(plan_in_jit(other, keys), plans.SequentialPlan)


def test_a_loop_where_a_trial_finds_nothing_faster(monkeypatch):
    monkeypatch.setattr(plans, "choose", lambda *question: (Sequential(), None))
    keys = jax.random.split(jax.random.key(0), plans.LEAST_MEASURED)
    algorithm = blackjax.mala(logdensity, 0.3)
    assert isinstance(plan(algorithm, "auto", keys=keys), plans.LoopPlan)
    assert isinstance(plan(algorithm, "sequential", keys=keys), plans.SequentialPlan)


def keep_energy_of_proposal(state, info):
    return state.position, {"H": info.proposal.logdensity}


@pytest.mark.parametrize(
    ("name", "transform", "ours"),
    [
        ("hmc", keep_known, True),
        ("hmc", keep_all, False),
        ("hmc", keep_energy_of_proposal, False),
        # Of MALA, BlackJAX tells no more than our loop knows.
        ("mala", keep_all, True),
    ],
)
def test_our_loop_is_run_where_it_knows_what_is_kept(monkeypatch, name, transform, ours):
    algorithm = {
        "hmc": blackjax.hmc(logdensity, 0.3, jnp.ones(2), 3),
        "mala": blackjax.mala(logdensity, 0.3),
    }[name]
    loop = plan_in_jit(algorithm, KEYS)
    ran = []
    for kind in (plans.SequentialPlan, plans.NativePlan):
        usual = kind.run
        monkeypatch.setattr(
            kind, "run", lambda *args, run=usual: ran.append(type(args[0])) or run(*args)
        )
    run = loop.run(transform, algorithm.init(jnp.ones(2)), KEYS)
    assert ran == [plans.NativePlan if ours else plans.SequentialPlan]
    theirs = plan(algorithm, "sequential").run(transform, algorithm.init(jnp.ones(2)), KEYS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), run.history, theirs.history
    )


def test_shooting_draws_the_same_chain(x64):
    keys = jax.random.split(jax.random.key(0), 300)
    algorithm = blackjax.hmc(logdensity, 0.3, jnp.ones(2), 3)
    state = algorithm.init(jnp.zeros(2))

    def run(solver):
        chosen = plans.choose_plan(algorithm, solver, None, state, keys)
        return chosen.run(lambda state, info: (state, info.is_accepted), state, keys)

    ours, theirs = run(pmc.Shooting(6)), run("sequential")
    assert ours.fallback_steps == 0 and ours.iterations == 2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), ours.history, theirs.history
    )
    with pytest.raises(NotSolvable, match="blackjax.mala and blackjax.hmc"):
        other = blackjax.barker_proposal(logdensity, 0.3)
        plan(other, pmc.Shooting(6), keys=keys)
