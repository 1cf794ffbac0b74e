"""Newton iterations on the German credit posterior: whitened MALA and HMC in one window.

    python benchmarks/german_credit.py [--keys 5] [--draws 1024]

Bayesian logistic regression (1,000 rows, 21 coefficients) in float64, whitened by the Laplace
covariance at the mode. For every kernel and Jacobian model it prints the Newton iterations until
all draws are certified, the largest difference from the sequential BlackJAX chain with the same
keys, and the evaluations of the step per draw. Counts do not depend on the machine.
"""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from harness import Table, parser_of, start

import parallel_mcmc as pmc
from parallel_mcmc.data import load_german_credit
from parallel_mcmc.kernels.chain import Parallel

TOLERANCE = 2.5e-7
MODELS = {
    "Diagonal(1)": pmc.Diagonal(),
    "Diagonal(1), no sweep": pmc.Diagonal(sweeps=0),
    "Diagonal(exact)": pmc.Diagonal(probes=None),
    "Surrogate": pmc.Surrogate(),
    "Dense": pmc.Dense(),
}
# Targets on the median count, where there is one.
TARGETS = {
    ("MALA 0.3", "Diagonal(1)"): 13,
    ("MALA 0.3", "Surrogate"): 16,
    ("HMC 5 x 0.3", "Diagonal(1)"): 8,
}


def log1pexp(x):
    """Return log(1 + exp(x)).

    Without the test for NaN of ``jnp.logaddexp``, which keeps XLA from computing the logarithms in
    one loop with their sum.
    """
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def whitened_posterior(log1pexp=log1pexp):
    """Return the log density in whitened coordinates, with the mode at zero, and its dimension."""
    credit = load_german_credit()
    design = jnp.asarray(np.column_stack([np.ones(len(credit.y)), credit.X]))
    outcome = jnp.asarray(credit.y)
    sd = jnp.array([2.5] + [1.0] * (design.shape[1] - 1))

    def logdensity(q):
        logits = design @ q
        likelihood = jnp.sum(outcome * logits - log1pexp(logits))
        return likelihood - 0.5 * jnp.sum((q / sd) ** 2)

    mode = jnp.zeros(design.shape[1])
    for _ in range(20):
        hessian = jax.hessian(logdensity)(mode)
        mode = mode - jnp.linalg.solve(hessian, jax.grad(logdensity)(mode))
    factor = jnp.linalg.cholesky(jnp.linalg.inv(-jax.hessian(logdensity)(mode)))
    return lambda w: logdensity(mode + factor @ w), design.shape[1]


def sequential(algorithm, start, keys):
    """Return the positions of the plain BlackJAX loop and its mean acceptance rate."""

    def step(state, key):
        state, info = algorithm.step(key, state)
        return state, (state.position, info.acceptance_rate)

    return jax.lax.scan(step, algorithm.init(start), keys)[1]


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--keys", type=int, default=5, help="chains, each with its own key")
    parser.add_argument("--draws", type=int, default=1024, help="draws of a chain, one window")
    options = start(parser)
    logdensity, dim = whitened_posterior()
    identity = jnp.ones(dim)
    kernels = {
        "MALA 0.15": (pmc.mala(logdensity, 0.15), blackjax.mala(logdensity, 0.15)),
        "MALA 0.3": (pmc.mala(logdensity, 0.3), blackjax.mala(logdensity, 0.3)),
        "HMC 5 x 0.3": (
            pmc.hmc(logdensity, 0.3, identity, 5),
            blackjax.hmc(logdensity, 0.3, identity, 5),
        ),
    }
    table = Table(
        "German credit",
        {
            "kernel": "<12",
            "model of the Jacobian": "<22",
            "accepted": "8.2f",
            "iterations": "<18",
            "median": "6.0f",
            "target": "6d",
            "evaluations a draw": "8.1f",
            "difference": "10.1e",
            "left to the loop": "6d",
        },
    )
    for name, (kernel, algorithm) in kernels.items():
        chains = []
        reference = jax.jit(sequential, static_argnums=0)
        for seed in range(options.keys):
            start_key, key = jax.random.split(jax.random.key(seed))
            # A start that the posterior itself could have drawn.
            first = jax.random.normal(start_key, (dim,))
            keys = jax.random.split(key, options.draws)
            chains.append((first, keys, *reference(algorithm, first, keys)))
        accepted = np.mean([rate for *_, rate in chains])
        for label, model in MODELS.items():
            runner = Parallel(pmc.Newton(model), options.draws, tolerance=TOLERANCE)
            solve = jax.jit(lambda q, keys: runner.solve(kernel, kernel.init(q), keys)[0])  # noqa: B023
            solutions = [solve(first, keys) for first, keys, *_ in chains]
            counts = sorted(int(s.iterations) for s in solutions)
            difference = max(
                float(jnp.abs(s.states.position - positions).max())
                for s, (_, _, positions, _) in zip(solutions, chains, strict=True)
            )
            evaluations = np.mean([int(s.evaluations) for s in solutions]) / options.draws
            fallback = sum(int(s.fallback_steps) for s in solutions)
            table.add(
                *(name, label, accepted, ", ".join(map(str, counts)), np.median(counts)),
                *(TARGETS.get((name, label)), evaluations, difference, fallback),
            )
    table.save(options)


if __name__ == "__main__":
    main()
