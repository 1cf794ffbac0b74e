import numpy as np
import pytest

from parallel_mcmc.warmup import build_schedule
from parallel_mcmc.warmup.schedule import LONG_BLOCK, SHORT_BLOCK, cut


@pytest.mark.parametrize(
    ("num_steps", "slow", "ends"),
    [
        (2000, (75, 1950), [100, 150, 250, 450, 850, 1950]),
        (1000, (75, 950), [100, 150, 250, 450, 950]),
        (500, (75, 450), [100, 150, 250, 450]),
        (150, (75, 100), [100]),
        (100, (15, 90), [90]),
        (20, (3, 18), [18]),
    ],
)
def test_windows(num_steps, slow, ends):
    schedule = build_schedule(num_steps)
    np.testing.assert_array_equal(np.flatnonzero(schedule.is_slow), np.arange(*slow))
    np.testing.assert_array_equal(np.flatnonzero(schedule.is_window_end) + 1, ends)


@pytest.mark.parametrize("num_steps", [1, 19])
def test_very_short_warmups_have_no_windows(num_steps):
    schedule = build_schedule(num_steps)
    assert schedule.is_slow.shape == (num_steps,)
    assert not schedule.is_slow.any() and not schedule.is_window_end.any()


def test_a_fast_stage_follows_the_last_window():
    for num_steps in range(20, 400):
        schedule = build_schedule(num_steps)
        assert len(schedule.is_slow) == len(schedule.is_window_end) == num_steps
        assert not (schedule.is_window_end & ~schedule.is_slow).any()
        assert schedule.is_window_end[np.flatnonzero(schedule.is_slow)[-1]]
        assert not schedule.is_slow[-1] and not schedule.is_slow[0]


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True])
def test_rejects_what_is_no_number_of_steps(num_steps):
    with pytest.raises(ValueError, match="num_steps must be a positive integer"):
        build_schedule(num_steps)


@pytest.mark.parametrize("num_steps", [1, 19, 20, 40, 149, 150, 317, 1000])
@pytest.mark.parametrize("sizes", [(1,), (SHORT_BLOCK, LONG_BLOCK)])
def test_parts_cover_the_warmup_block_by_block(num_steps, sizes):
    schedule = build_schedule(num_steps)
    parts = cut(schedule, sizes)
    np.testing.assert_array_equal(parts.first, np.cumsum([0, *parts.count[:-1]]))
    assert parts.count.sum() == num_steps
    assert (parts.count <= np.array(sizes)[parts.size]).all()
    # The smallest size that will do.
    assert (parts.count[parts.size > 0] > sizes[0]).all()
    # A part is of one kind, and only its last step can end a block.
    for first, count, is_slow, ends in zip(
        parts.first, parts.count, parts.is_slow, parts.is_block_end, strict=True
    ):
        assert set(schedule.is_slow[first : first + count]) == {is_slow}
        assert not schedule.is_block_end[first : first + count - 1].any()
        assert schedule.is_block_end[first + count - 1] == ends
    starts = parts.first[parts.is_stage_start]
    np.testing.assert_array_equal(starts, [0, *np.flatnonzero(schedule.is_window_end) + 1])
    assert parts.windows_left[0] == schedule.is_window_end.sum() and parts.windows_left[-1] == 0


def test_blocks_end_with_their_stage_and_are_short_where_much_is_learnt():
    ends = np.flatnonzero(build_schedule(1000).is_block_end) + 1
    assert {75, 100, 150, 250, 450, 950, 1000} <= set(ends)
    lengths = np.diff(ends, prepend=0)
    assert (lengths[ends <= 75] == 5).all() and (lengths[ends > 950] == 5).all()
    assert lengths[(ends > 450) & (ends <= 950)].tolist() == [5] * 5 + [50] * 9 + [25]
