"""Newton iterations of Gibbs, random-walk Metropolis and gated MALA against the number of draws.

    python benchmarks/kernels.py [--draws 256 1024 4096] [--only gibbs rmh gate]

All draws of a chain are solved in one window, in float64, and compared with the plain loop. Counts
do not depend on the machine.

- gibbs: the eight schools in their centred form with conjugate conditionals (normal effects and
  mean, inverse-gamma variance), by whole and by diagonal Jacobians.
- rmh: random-walk Metropolis on a 20-dimensional log-concave target, a product of logistic
  distributions, by Picard iteration.
- gate: MALA on the same target; the accept decision without a derivative, and as a sigmoid.
"""

import argparse
import platform

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.data import load_eight_schools
from parallel_mcmc.kernels.chain import Parallel, Sequential

DIM = 20


def log_concave(x):
    """Return the log density of independent logistic variables."""
    return -jnp.sum(x + 2 * jnp.logaddexp(0.0, -x))


def schools_gibbs():
    """Return a Gibbs kernel with conjugate conditionals, and where to start.

    The prior of the variance is inverse-gamma(1, 25), that of the mean is flat.
    """
    y, sigma = (jnp.asarray(a) for a in load_eight_schools())

    def update_theta(q, z):
        spread = jnp.exp(-q["log_variance"])
        precision = spread + 1 / sigma**2
        mean = (spread * q["mu"] + y / sigma**2) / precision
        return {**q, "theta": mean + z / jnp.sqrt(precision)}

    def update_mu(q, z):
        return {**q, "mu": jnp.mean(q["theta"]) + z * jnp.exp(0.5 * q["log_variance"]) / 8**0.5}

    def update_variance(q, log_gamma):
        rate = 25 + 0.5 * jnp.sum((q["theta"] - q["mu"]) ** 2)
        return {**q, "log_variance": jnp.log(rate) - log_gamma}

    def draw(key):
        a, b, c = jax.random.split(key, 3)
        return (
            jax.random.normal(a, (8,)),
            jax.random.normal(b),
            jax.random.loggamma(c, jnp.array(1.0 + 8 / 2)),
        )

    start = {"theta": y, "mu": jnp.mean(y), "log_variance": jnp.array(3.0)}
    return pmc.gibbs([update_theta, update_mu, update_variance], draw), start


def cases():
    gibbs, start = schools_gibbs()
    zero = jnp.zeros(DIM)
    variance = jnp.full(DIM, jnp.pi**2 / 3)
    walk = pmc.rmh(log_concave, 2.4 / DIM**0.5, variance)
    yield "gibbs", "eight schools, dense", gibbs, start, pmc.deer()
    yield "gibbs", "eight schools, diagonal", gibbs, start, pmc.quasi_deer()
    yield "rmh", "20-D logistic, Picard", walk, zero, None
    for label, gate in (
        ("no derivative", pmc.HardGate()),
        ("sigmoid, 0.1", pmc.SmoothGate(0.1)),
        ("sigmoid, 1", pmc.SmoothGate(1.0)),
    ):
        mala = pmc.mala(log_concave, 0.5, variance, gate=gate)
        yield "gate", f"MALA diagonal, {label}", mala, zero, pmc.quasi_deer()
        yield "gate", f"MALA dense, {label}", mala, zero, pmc.deer()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--only", nargs="+", choices=["gibbs", "rmh", "gate"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-iterations", type=int, default=1024, help="budget of one solve")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(
        f"jax {jax.__version__}, parallel_mcmc {pmc.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {jax.default_backend()}\n"
    )
    print(f"{'kernel':32} {'draws':>6} {'iterations':>10} {'fallback':>8} {'difference':>10}")
    for group, label, kernel, start, method in cases():
        if options.only and group not in options.only:
            continue
        for draws in options.draws:
            keys = jax.random.split(jax.random.key(options.seed), draws)
            runner = Parallel(method, draws, max_iterations=options.max_iterations)
            state = kernel.init(start)
            solved = jax.jit(runner.run)(kernel, state, keys)
            plain = jax.jit(Sequential().run)(kernel, state, keys)
            pairs = zip(
                jax.tree.leaves(solved.states.position),
                jax.tree.leaves(plain.states.position),
                strict=True,
            )
            difference = max(float(np.abs(a - b).max()) for a, b in pairs)
            print(
                f"{group + ': ' + label:32} {draws:6} {int(solved.stats.iterations):10} "
                f"{int(solved.stats.fallback_steps):8} {difference:10.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
