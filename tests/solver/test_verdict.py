"""Which leading states are exact, in one block and in several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.solver.verdict import MARGIN_SLOPE, conclude, look_at, next_residual


def blocks_of(gap, finite, left, count, *, margin=None, contraction=None):
    """Return what ``count`` blocks of a window say, by a tolerance of 1."""
    gap = jnp.asarray(gap, float)
    finite = jnp.broadcast_to(jnp.asarray(finite), gap.shape)
    contraction = jnp.ones_like(gap) if contraction is None else jnp.asarray(contraction)
    rows = gap, contraction, margin, finite, jnp.arange(len(gap))

    def one(gap, contraction, margin, finite, positions):
        return look_at(gap, contraction, margin, finite, positions, left, 1.0)

    cut = jax.tree.map(lambda leaf: leaf.reshape(count, -1), rows)
    return jax.vmap(one)(*cut), len(gap) // count


def verdict(*args, **options):
    blocks, length = blocks_of(*args, **options)
    return conclude(blocks, length, args[2], 1.0)


CASES = [
    # An exact argument makes an exact value: one more than the edges that agree.
    ([0, 0.5, 9, 0], True, 9, 2, 3, False),
    ([9, 0, 0, 0], True, 9, 0, 1, False),
    ([0, 0, 0, 0], True, 9, 4, 4, False),
    ([0, 0, 0, 9], True, 9, 3, 4, False),
    ([0, 9, 0, 0], True, 9, 1, 2, False),
    # The tolerance itself agrees, and nothing that is no number.
    ([1, 1.01, 0, 0], True, 9, 1, 2, False),
    ([0, np.nan, 0, 0], True, 9, 1, 2, False),
    ([0, np.inf, 0, 0], True, 9, 1, 2, False),
    # Beyond the chain's end nothing counts.
    ([0, 9, 9, 9], True, 2, 1, 2, False),
    ([0, 0, 9, 9], True, 2, 4, 2, False),
    ([9, 9, 9, 9], True, 1, 0, 1, False),
    ([0, 0, 0, 9], True, 4, 3, 4, False),
    ([9, 0, 0, 0], True, 4, 0, 1, False),
    # A value that is not finite is not accepted, and if it is exact it ends the search.
    ([0, np.inf, 9, 9], [True, False, True, True], 9, 1, 1, True),
    ([9, np.inf, 9, 9], [False, True, True, True], 9, 0, 0, True),
    ([0, 9, np.inf, 9], [True, True, False, True], 9, 1, 2, False),
    ([0, 0, 0, np.inf], [True, True, True, False], 9, 3, 3, True),
    ([0, 0, np.inf, 9], [True, True, False, True], 2, 4, 2, False),
]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(("gap", "finite", "left", "edges", "accepted", "blocked"), CASES)
def test_prefix(gap, finite, left, edges, accepted, blocked, count):
    found = verdict(gap, finite, left, count)
    assert (int(found.edges), int(found.accepted)) == (edges, accepted)
    assert bool(found.blocked) is blocked
    # Of the edges inside the chain.
    counted = np.asarray(gap)[: min(edges, left)]
    assert float(found.residual) == max(counted, default=0)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_an_edge_is_judged_by_the_step_after_it(count):
    gap = [0.5, 2.0, 2.0, 2.0, 2.0, 0.3]
    contraction = [0.0, 1.0, 0.25, 0.5, 0.4, 0.9]
    found = verdict(gap, True, 9, count, contraction=contraction)
    # The residuals are 0.5, 0.5, 1, 0.8, 1.8, 0.3, the last for want of a step after it.
    assert int(found.edges) == 4 and float(found.residual) == 1
    assert float(found.gap) == 2
    # A decision that may change is not settled, unless nothing changes at all.
    gap = jnp.array([0.1, 0.1, 0.0, 0.1, 0.1, 0.1])
    margin = jnp.array([0.0, 9.0, 9.0, 0.0, 2.9, 9.0])
    found = verdict(gap, True, 9, count, margin=margin)
    assert int(found.edges) == 3


def test_residual_of_the_values_is_the_gap_times_the_next_contraction():
    gap = jnp.array([0.5, 0.25])
    contraction = jnp.array([0.5, 0.25])
    never = jnp.array(jnp.inf)
    np.testing.assert_array_equal(next_residual(gap, contraction, never), [0.25, 0.0625])
    # The state is exact, whatever the next step does with it.
    gap, contraction = jnp.array([0.0, 0.25]), jnp.array([jnp.nan, 0.5])
    np.testing.assert_array_equal(next_residual(gap, contraction, never), [0, 0.125])


def test_only_a_gap_of_zero_has_no_residual():
    tiny = float(np.finfo(np.float32).tiny)
    gap = jnp.array([0.0, 0.5, tiny])
    residual = next_residual(gap, jnp.array([0.0, 0.0, 0.5]), jnp.array(jnp.inf))
    np.testing.assert_array_equal(residual, np.float32([0, tiny, tiny]))


def test_residual_is_unknown_where_the_next_decision_may_change():
    gap = jnp.array([0.5, 0.5, 0.0])
    # Just enough, too small, nothing to change.
    margin = jnp.array([0.5 * MARGIN_SLOPE, 0.5 * MARGIN_SLOPE - 1, 0.0])
    residual = next_residual(gap, jnp.ones(3), margin)
    np.testing.assert_array_equal(residual, [0.5, np.inf, 0])
