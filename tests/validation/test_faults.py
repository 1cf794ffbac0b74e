"""The planted errors are in the kernels, which run: what the slow tests find is the error."""

import jax
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Sequential
from validation import kernels
from validation.models import NORMAL

SOUND = {
    "accept ratio without the moves": lambda data: kernels.mala(NORMAL, data),
    "sign of the kinetic energy": lambda data: kernels.hmc(NORMAL, data),
    "missing half step": lambda data: pmc.hmc(
        NORMAL.posterior(data), 1.0, NORMAL.covariance(data), 1
    ),
    "forgotten Jacobian": lambda data: kernels.hmc(NORMAL, data),
}


@pytest.mark.parametrize("fault", kernels.FAULTS)
def test_faulty_kernel_runs_and_differs(x64, fault):
    truth_key, data_key, key = jax.random.split(jax.random.key(0), 3)
    position = NORMAL.prior(truth_key)
    data = NORMAL.simulate(data_key, position)

    def rates(kernel):
        keys = jax.random.split(key, 20)
        chain = Sequential().run(kernel, kernel.init(position), keys)
        return np.asarray(chain.info.acceptance_rate)

    faulty = rates(kernels.FAULTS[fault](data))
    assert np.isfinite(faulty).all()
    assert np.abs(faulty - rates(SOUND[fault](data))).max() > 1e-3
