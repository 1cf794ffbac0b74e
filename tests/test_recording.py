import numpy as np

from parallel_mcmc.kernels.base import DensityState
from parallel_mcmc.kernels.chain import Chain, ChainStats
from parallel_mcmc.kernels.gibbs import GibbsState
from parallel_mcmc.recording import InMemory


def segment(start, count):
    draws = np.arange(start, start + count, dtype=float)[None]
    return Chain(DensityState(draws, -draws), {"rate": 2 * draws}, ChainStats(*[start] * 5))


def test_segments_are_joined():
    recorder = InMemory()
    assert recorder.drawn == 0
    recorder.record(segment(0, 3))
    recorder.record(segment(3, 2))
    assert recorder.drawn == 5
    draws = recorder.draws()
    np.testing.assert_array_equal(draws.position, [[0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(draws.logdensity, [[0, -1, -2, -3, -4]])
    np.testing.assert_array_equal(draws.info["rate"], [[0, 2, 4, 6, 8]])
    np.testing.assert_array_equal(recorder.final_state.position, [4])
    assert [stats.iterations for stats in recorder.stats] == [0, 3]


def test_a_kernel_without_a_log_density():
    recorder = InMemory()
    recorder.record(segment(0, 3)._replace(states=GibbsState(np.zeros((1, 3)))))
    assert recorder.draws().logdensity is None
