"""The kernels under test, as functions of a model that return ``build(data)``."""

from functools import partial

import jax.numpy as jnp

import parallel_mcmc as pmc
from validation.faults import LastHalfStepMissing, NegativeKineticEnergy, SymmetricMALA, with_fault
from validation.models import NORMAL, normal_gibbs, normal_without_jacobian


def hmc(model, data):
    return pmc.hmc(model.posterior(data), 1.0, model.covariance(data), 2)


def mala(model, data):
    return pmc.mala(model.posterior(data), 0.4, model.covariance(data))


# Errors that tests of the draws have to find, each as a function of the data of the normal model.
FAULTS = {
    "accept ratio without the moves": lambda data: with_fault(SymmetricMALA, mala(NORMAL, data)),
    "sign of the kinetic energy": lambda data: with_fault(NegativeKineticEnergy, hmc(NORMAL, data)),
    # Of one leapfrog step: the joint distribution test does not see it in transitions of two.
    "missing half step": lambda data: pmc.hmc(
        NORMAL.posterior(data), 1.0, NORMAL.covariance(data), 1, integrator=LastHalfStepMissing()
    ),
    "forgotten Jacobian": partial(hmc, NORMAL._replace(logdensity=normal_without_jacobian)),
}


def _tilted(model, data):
    """Return a metric that is not the posterior's covariance: it must not matter."""
    covariance = model.covariance(data)
    scale = jnp.sqrt(jnp.diagonal(covariance))
    return covariance + 0.4 * jnp.outer(scale, scale)


NORMAL_KERNELS = {
    "rmh": lambda model, data: pmc.rmh(model.posterior(data), 1.2, _tilted(model, data)),
    "mala": lambda model, data: pmc.mala(model.posterior(data), 0.5, _tilted(model, data)),
    "barker": lambda model, data: pmc.barker(model.posterior(data), 1.0, _tilted(model, data)),
    "hmc": lambda model, data: pmc.hmc(model.posterior(data), 0.7, _tilted(model, data), 3),
    "jittered hmc": lambda model, data: pmc.hmc(
        model.posterior(data), 0.7, _tilted(model, data), pmc.UniformSteps(1, 4)
    ),
    "adjusted mclmc": lambda model, data: pmc.adjusted_mclmc(
        model.posterior(data), 1.0, _tilted(model, data), 2
    ),
    "gibbs": lambda model, data: normal_gibbs(data),
    "cycle": lambda model, data: pmc.cycle(
        [pmc.hmc(model.posterior(data), 0.7, _tilted(model, data), 2), normal_gibbs(data)]
    ),
}
