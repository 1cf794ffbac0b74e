"""The posteriors of posteriordb as the other ones: log densities of a vector, whitened."""

import sys
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import scipy.optimize
from harness import ROOT
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import initialize_model
from posteriors import Problem

sys.path.insert(0, str(ROOT / "tests"))

from validation.posteriordb import MODELS, load  # noqa: E402


def reference_posterior(name: str) -> Problem:
    """Return a posterior of posteriordb, unconstrained and whitened by the Laplace covariance.

    In double precision only, in which alone the mode of some is found.
    """
    data = load(name)[0]
    model = initialize_model(jax.random.key(0), MODELS[name], model_kwargs=data)
    start, unravel = ravel_pytree(model.param_info.z)

    def potential(q):
        return model.potential_fn(unravel(q))

    hessian = jax.jit(jax.hessian(potential))
    found = scipy.optimize.minimize(
        jax.jit(jax.value_and_grad(potential)), start, jac=True, hess=hessian, method="trust-exact"
    )
    mode = jnp.asarray(found.x)
    factor = jnp.linalg.cholesky(jnp.linalg.inv(hessian(mode)))
    return Problem(lambda w: -potential(mode + factor @ w), start.size, 2048, 0.3, 0.3, 5)


REFERENCES: dict[str, Callable[[], Problem]] = {
    name: partial(reference_posterior, name) for name in MODELS
}
