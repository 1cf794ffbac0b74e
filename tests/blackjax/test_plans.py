import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.blackjax import plans
from parallel_mcmc.blackjax.generic import LARGEST_DENSE, NotSolvable
from parallel_mcmc.kernels.chain import InLanes


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


KEYS = jax.random.split(jax.random.key(0), 10)


def plan(algorithm, solver="parallel", dim=2):
    state = algorithm.init(jnp.ones(dim))
    return plans.choose_plan(algorithm, solver, None, state, KEYS)


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
    """What the clock says decides; within jit there is none."""
    keys = jax.random.split(jax.random.key(0), plans.LEAST_MEASURED)
    algorithm = blackjax.mala(logdensity, 0.3)
    state = algorithm.init(jnp.zeros(2))
    asked = []

    def choose(solver, window, kernel, states, keys):
        asked.append((kernel, states, keys.shape))
        return InLanes(4, 128), None

    monkeypatch.setattr(plans, "choose", choose)
    chosen = plans.choose_plan(algorithm, "auto", None, state, keys)
    assert isinstance(chosen, plans.NativePlan) and chosen.runner == InLanes(4, 128)
    ((_, states, shape),) = asked
    assert states.position.shape == (1, 2) and shape == (1, len(keys))
    short = plans.choose_plan(algorithm, "auto", None, state, keys[:-1])
    assert isinstance(short, plans.SequentialPlan)
    other = blackjax.barker_proposal(logdensity, 0.3)
    chosen = plans.choose_plan(other, "auto", None, other.init(jnp.zeros(2)), keys)
    assert isinstance(chosen, plans.SequentialPlan)

    def traced(keys):
        assert isinstance(
            plans.choose_plan(algorithm, "auto", None, state, keys), plans.SequentialPlan
        )
        return keys

    jax.eval_shape(traced, keys)
    assert len(asked) == 1


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
        plans.choose_plan(other, pmc.Shooting(6), None, other.init(jnp.zeros(2)), keys)
