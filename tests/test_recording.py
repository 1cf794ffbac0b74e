import numpy as np

from parallel_mcmc.kernels.base import DensityState
from parallel_mcmc.kernels.chain import Chain, ChainStats
from parallel_mcmc.kernels.gibbs import GibbsState
from parallel_mcmc.recording import InMemory, all_draws


def segment(start, count):
    draws = np.arange(start, start + count, dtype=float)[None]
    return Chain(DensityState(draws, -draws), {"rate": 2 * draws}, ChainStats(*[start] * 5))


def test_segments_are_joined():
    recorder = InMemory()
    assert recorder.drawn == 0
    recorder.record(segment(0, 3))
    recorder.record(segment(3, 2))
    assert recorder.drawn == 5 and recorder.segments == 2
    draws = all_draws([recorder], 2)
    np.testing.assert_array_equal(draws.position, [[0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(draws.logdensity, [[0, -1, -2, -3, -4]])
    np.testing.assert_array_equal(draws.info["rate"], [[0, 2, 4, 6, 8]])
    np.testing.assert_array_equal(recorder.state(1).position, [2])
    np.testing.assert_array_equal(recorder.state(2).position, [4])
    assert [stats.iterations for stats in recorder.stats(2)] == [0, 3]


def test_groups_of_chains_are_joined_as_far_as_all_of_them_are():
    recorders = [InMemory(), InMemory()]
    for first, recorder in zip((0, 10), recorders, strict=True):
        recorder.record(segment(first, 2))
        recorder.record(segment(first + 2, 2))
    recorders[1].record(segment(14, 2))
    draws = all_draws(recorders, 2)
    np.testing.assert_array_equal(draws.position, [[0, 1, 2, 3], [10, 11, 12, 13]])
    np.testing.assert_array_equal(draws.info["rate"], 2 * draws.position)


def test_a_kernel_without_a_log_density():
    recorder = InMemory()
    recorder.record(segment(0, 3)._replace(states=GibbsState(np.zeros((1, 3)))))
    assert all_draws([recorder], 1).logdensity is None
