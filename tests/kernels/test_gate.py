import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc


def logdensity(x):
    return -0.25 * jnp.sum(x**4)


def step(gate, uniform):
    kernel = pmc.mala(logdensity, 0.2, gate=gate)
    bound = kernel.bind(jnp.ones(2))
    state = bound.enter(kernel.init(jnp.array([0.7, -1.1])))
    draw = bound.draw(jax.random.key(0))._replace(uniform=uniform)

    def run(x):
        return bound.recurrence.lifted_step(x, state, draw)

    x = state.position
    candidate = jax.jacfwd(
        lambda x: kernel.propose(  # noqa: E731
            bound.recurrence.chart.target.evaluate, bound.recurrence.chart.lift(state, x), draw
        )
    )(x)
    value, (after, info) = run(x)
    return x, value, info, jax.jacfwd(run, has_aux=True)(x)[0], candidate


def test_hard_gate_has_the_derivative_of_the_branch(x64):
    _, _, info, jacobian, candidate = step(pmc.HardGate(), jnp.array(0.01))
    assert info.is_accepted
    np.testing.assert_allclose(jacobian, candidate.proposal.position)
    x, value, info, jacobian, _ = step(pmc.HardGate(), jnp.array(0.9999))
    assert not info.is_accepted
    np.testing.assert_allclose(jacobian, np.eye(2))
    np.testing.assert_array_equal(value, x)


def test_smooth_gate_adds_the_slope_of_the_sigmoid(x64):
    for uniform in (0.01, 0.9999):
        x, hard, info, plain, candidate = step(pmc.HardGate(), jnp.array(uniform))
        _, soft, _, smooth, _ = step(pmc.SmoothGate(0.5), jnp.array(uniform))
        np.testing.assert_array_equal(soft, hard)
        kernel = pmc.mala(logdensity, 0.2)
        bound = kernel.bind(jnp.ones(2))
        draw = bound.draw(jax.random.key(0))._replace(uniform=jnp.array(uniform))
        state = bound.enter(kernel.init(x))
        proposal = kernel.propose(bound.recurrence.chart.target.evaluate, state, draw)
        sigmoid = 1 / (1 + np.exp(-proposal.log_margin / 0.5))
        slope = sigmoid * (1 - sigmoid) / 0.5 * candidate.log_margin
        jump = proposal.proposal.position - x
        np.testing.assert_allclose(smooth, plain + np.outer(jump, slope), atol=1e-12)


def test_smooth_gate_bears_a_proposal_that_is_not_finite(x64):
    def run(margin):
        return pmc.SmoothGate().choose(margin, jnp.full(2, jnp.nan), jnp.ones(2))

    value, slope = jax.jvp(run, (jnp.array(-jnp.inf),), (jnp.array(1.0),))
    np.testing.assert_array_equal(value, np.ones(2))
    np.testing.assert_array_equal(slope, np.zeros(2))
