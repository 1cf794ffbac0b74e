"""Kernels and densities with an error in them, which the tests of the draws have to find."""

import dataclasses

import jax

from parallel_mcmc import kernels
from parallel_mcmc._tree import pytree
from parallel_mcmc.kernels.leapfrog import LEAPFROG, leapfrog_step
from parallel_mcmc.kernels.metropolis import candidate


@pytree
@dataclasses.dataclass(frozen=True)
class SymmetricMALA(kernels.MALA):
    """The accept ratio lacks the density of the moves."""

    def propose(self, evaluate, state, draw):
        proposal = super().propose(evaluate, state, draw).proposal
        return candidate(proposal, draw.uniform, -state.logdensity, -proposal.logdensity)


@pytree
@dataclasses.dataclass(frozen=True)
class NegativeKineticEnergy(kernels.HMC):
    """The kinetic energy enters the accept ratio with the wrong sign."""

    def propose(self, evaluate, state, draw):
        steps = self.num_integration_steps
        proposal, momentum = LEAPFROG.run(
            evaluate, state, draw.normal, self.step_size, steps, steps
        )

        def energy(state, momentum):
            return -state.logdensity - 0.5 * momentum @ momentum

        before, after = energy(state, draw.normal), energy(proposal, momentum)
        return candidate(proposal, draw.uniform, before, after, steps)


@pytree
@dataclasses.dataclass(frozen=True)
class LastHalfStepMissing:
    """Leapfrog whose last half kick is forgotten."""

    def run(self, evaluate, state, momentum, step_size, num_steps, longest):
        def body(_, now):
            return leapfrog_step(evaluate, *now, step_size=step_size)

        state, momentum = jax.lax.fori_loop(0, num_steps, body, (state, momentum))
        return state, momentum - 0.5 * step_size * state.logdensity_grad


def with_fault(cls, kernel):
    """Return the kernel as one of the faulty class."""
    fields = {field.name: getattr(kernel, field.name) for field in dataclasses.fields(kernel)}
    return cls(**fields)
