import numpy as np
import pytest

from parallel_mcmc.warmup import build_schedule


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
