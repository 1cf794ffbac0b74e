import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parallel_mcmc.rows import plan as module
from parallel_mcmc.rows.cut import plan_of
from parallel_mcmc.rows.plan import ALIGNED_ROWS, BLOCK_SHARE, FEWEST_ROWS, FILLED


def plan_for(rows, width):
    design = np.ones((rows, width), np.float32)

    def logdensity(q):
        return jnp.sum((jnp.asarray(design) @ q) ** 2)

    return plan_of(jax.make_jaxpr(logdensity)(jnp.ones(width)))


@pytest.mark.parametrize("batch", [1, 16, 300])
@pytest.mark.parametrize(
    ("rows", "width"), [(50_000, 100), (200_001, 50), (1_000_003, 1), (9000, 2000), (970_000, 3)]
)
def test_blocks_fit_the_caches_and_have_a_round_number_of_rows(rows, width, batch, monkeypatch):
    caches = 16e6
    monkeypatch.setattr(module, "cache_bytes", lambda: caches)
    plan = plan_for(rows, width)
    found = plan.block_rows(batch)
    assert found % ALIGNED_ROWS == 0
    # Single precision, and three numbers for each row and position.
    most = max(BLOCK_SHARE * caches / (4 * width + 12 * batch), FEWEST_ROWS)
    assert 0.5 * most - ALIGNED_ROWS < found <= most


@pytest.mark.parametrize(("rows", "blocks"), [(160_000, 4), (150_000, 5), (160_001, 4)])
def test_blocks_leave_nothing_over_where_a_few_more_do(rows, blocks, monkeypatch):
    # Of one position a row has ten numbers of data and three others: 52 bytes.
    monkeypatch.setattr(module, "cache_bytes", lambda: 45_000 * 52 / BLOCK_SHARE)
    found = plan_for(rows, 10).block_rows()
    assert rows // found == blocks
    assert rows % found == rows % 2


def test_data_that_are_one_block_are_not_cut():
    plan = plan_for(FEWEST_ROWS, 21)
    assert plan.block_rows(1_000_000) == FEWEST_ROWS
    assert not plan.pays(1_000_000)


@pytest.mark.parametrize("caches", [8e6, 32e6])
def test_a_single_position_pays_where_the_data_alone_are_too_many(caches, monkeypatch):
    monkeypatch.setattr(module, "cache_bytes", lambda: caches)
    room = FILLED * caches
    assert plan_for(int(room / 400), 100).pays(1)
    smaller = plan_for(int(0.5 * room / 400), 100)
    assert not smaller.pays(1)
    # Three numbers for each row and position fill the other half.
    most = int(0.5 * room / 12 / smaller.num_rows)
    assert not smaller.pays(most)
    assert smaller.pays(most + 1)
