"""Real posteriors against their reference draws, from the usual start and from a bad one."""

import pytest

from validation.posteriordb import MODELS, Posterior

pytestmark = pytest.mark.slow


# From a bad start a few transitions of eight schools diverge; the report counts them.
@pytest.mark.filterwarnings("ignore::parallel_mcmc.DivergenceWarning")
@pytest.mark.parametrize("name", MODELS)
def test_reference_is_met(x64, name):
    posterior = Posterior(name)
    for seed in (0, 1):
        report = posterior.run(seed, posterior.far_positions(seed) if seed else None)
        assert report.rhat < 1.01
        assert not {key: value for key, value in report.deviations.items() if not value < 4}
        # Of 4,000 transitions.
        assert report.divergences < 10
