import blackjax
import jax
import jax.numpy as jnp
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.blackjax import plans
from parallel_mcmc.blackjax.generic import LARGEST_DENSE


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
