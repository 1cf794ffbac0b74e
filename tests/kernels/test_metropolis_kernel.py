"""Ties: decisions within the rounding of the log density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels.metropolis_kernel import LARGEST_TIE, TIE


def bound_mala(offset):
    """Return MALA for a log density of about ``-offset``, and a state of its recurrence."""
    kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2) - offset, 0.3)
    bound = kernel.bind(jnp.zeros(3))
    return bound.recurrence, bound.enter(kernel.init(jnp.zeros(3)))


def margin_by(recurrence, state, draw):
    """Return ``log α - log u``, with its sign."""
    info = recurrence.step(state, draw)[1]
    return float(jnp.where(info.is_accepted, 1, -1) * info.accept_margin)


def draw_of_margin(recurrence, state, margin):
    """Return a draw whose decision has the margin, about."""
    normal = jnp.array([1.0, -2.0, 0.5])
    draw = pmc.mala(lambda x: -jnp.sum(x**2), 0.3).draw(jax.random.key(0), normal)
    draw = draw._replace(normal=normal, uniform=jnp.ones(()))
    ratio = margin_by(recurrence, state, draw)
    return draw._replace(uniform=jnp.exp(jnp.asarray(ratio - margin)))


@pytest.mark.parametrize("margin", [0.3, -0.3])
@pytest.mark.parametrize("accepted", [True, False])
def test_a_tie_is_decided_as_it_was_and_nothing_else(x64, margin, accepted):
    offset = 1e9
    recurrence, state = bound_mala(offset)
    tie = TIE * np.finfo(float).eps * offset
    for size, settled in ((0.9, True), (1.1, False)):
        draw = draw_of_margin(recurrence, state, np.sign(margin) * size * tie)
        _, info = recurrence.step(state, draw)
        # What was recorded at nearly the same position may have been decided otherwise.
        known = info._replace(is_accepted=jnp.asarray(accepted))
        _, again = recurrence.step(state, recurrence.agreeing(state, draw, known))
        assert bool(again.is_accepted) == (accepted if settled else margin > 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tie_is_as_wide_as_the_rounding(dtype, x64):
    recurrence, state = bound_mala(1000.0)
    state, draw = jax.tree.map(
        lambda leaf: leaf.astype(dtype), (state, draw_of_margin(recurrence, state, 0.1))
    )
    info = recurrence.step(state, draw)[1]._replace(is_accepted=jnp.asarray(False))
    moved = recurrence.agreeing(state, draw, info)
    assert moved.uniform.dtype == dtype and moved.normal is draw.normal
    expected = TIE * np.finfo(dtype).eps * 1000
    assert float(moved.uniform / draw.uniform - 1) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("logdensity", [-jnp.inf, jnp.nan, -1e16])
def test_log_densities_that_are_no_better_than_noise_settle_nothing(x64, logdensity):
    recurrence, state = bound_mala(0.0)
    assert not TIE * np.finfo(float).eps * abs(logdensity) < LARGEST_TIE
    draw = draw_of_margin(recurrence, state, 0.1)
    info = recurrence.step(state, draw)[1]
    wild = state._replace(logdensity=jnp.asarray(logdensity))
    assert recurrence.agreeing(wild, draw, info).uniform == draw.uniform


def test_a_kernel_that_decides_nothing_has_no_ties():
    kernel = pmc.ula(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    bound = kernel.bind(jnp.zeros(3))
    state, draw = bound.enter(kernel.init(jnp.zeros(3))), bound.draw(jax.random.key(0))
    assert bound.recurrence.agreeing(state, draw, ()) is draw
