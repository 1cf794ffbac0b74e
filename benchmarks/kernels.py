"""Newton iterations of Gibbs, random-walk Metropolis and gated MALA against the number of draws.

    python benchmarks/kernels.py [--draws 256 1024 4096] [--only gibbs rmh gate leapfrog]

All draws of a chain are solved in one window, in float64, and compared with the plain loop. Counts
do not depend on the machine.

- gibbs: the eight schools in their centred form with conjugate conditionals (normal effects and
  mean, inverse-gamma variance), by whole and by diagonal Jacobians.
- rmh: random-walk Metropolis on a 20-dimensional log-concave target, a product of logistic
  distributions, by Picard iteration.
- gate: MALA on the same target; the accept decision without a derivative, and as a sigmoid.
- leapfrog: 512 leapfrog steps on a 500-dimensional item-response posterior (two-parameter logistic
  model of 400 persons and 50 items, synthetic), whitened by the Laplace covariance.
"""

import argparse
import platform

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.data import load_eight_schools
from parallel_mcmc.kernels.chain import Parallel, Sequential
from parallel_mcmc.kernels.leapfrog import leapfrog_step

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


def item_response():
    """Return the posterior's log density, its mode and the Laplace covariance there."""
    rng = np.random.default_rng(0)
    persons, items = 400, 50
    ability, difficulty = rng.normal(size=persons), rng.normal(size=items)
    slope = np.exp(0.3 * rng.normal(size=items))
    rate = 1 / (1 + np.exp(-slope * (ability[:, None] - difficulty)))
    right = rng.random((persons, items)) < rate

    def logdensity(q):
        theta, log_slope, b = jnp.split(q, [persons, persons + items])
        logit = jnp.exp(log_slope) * (theta[:, None] - b)
        prior = -0.5 * (jnp.sum(theta**2) + jnp.sum(b**2) + jnp.sum((log_slope / 0.5) ** 2))
        return prior + jnp.sum(jnp.where(right, logit, 0) - jnp.logaddexp(0.0, logit))

    value = jax.jit(logdensity)
    slopes = jax.jit(lambda q: (jax.grad(logdensity)(q), -jax.hessian(logdensity)(q)))
    # Levenberg's method: the posterior is not log-concave.
    mode = jnp.concatenate([3 * right.mean(1) - 1.5, np.zeros(items), 1.5 - 3 * right.mean(0)])
    damping = 10.0
    gradient, hessian = slopes(mode)
    while float(jnp.abs(gradient).max()) > 1e-7:
        step = jnp.linalg.solve(hessian + damping * jnp.eye(mode.size), gradient)
        if value(mode + step) >= value(mode):
            mode, damping = mode + step, max(damping / 4, 1e-9)
            gradient, hessian = slopes(mode)
        else:
            damping *= 4
    covariance = jnp.linalg.inv(hessian)
    return logdensity, mode, 0.5 * (covariance + covariance.T)


def leapfrog(seed, num_steps=512):
    """Print the iterations of one long trajectory and its distance from the plain loop's."""
    logdensity, mode, covariance = item_response()
    key_start, key_momentum = jax.random.split(jax.random.key(seed))
    for step_size in (0.01, 0.02, 0.05):
        kernel = pmc.hmc(logdensity, step_size, covariance, num_steps)
        target = kernel.target(mode)
        # A start that the Laplace approximation could have drawn.
        w = kernel.metric.whiten(mode) + jax.random.normal(key_start, mode.shape)
        momentum = jax.random.normal(key_momentum, mode.shape)

        @jax.jit
        def both(w, momentum, target=target, step_size=step_size):
            start, size = target.evaluate(w), jnp.array(step_size)
            solution = pmc.ParallelLeapfrog().solve(
                target.evaluate, start, momentum, size, num_steps
            )

            def step(now, _):
                now = leapfrog_step(target.evaluate, *now, size)
                return now, now[0].position

            return solution, jax.lax.scan(step, (start, momentum), length=num_steps)[1]

        solution, plain = both(w, momentum)
        error = float(jnp.abs(solution.states.position - plain).max() / jnp.abs(plain).max())
        print(
            f"{f'leapfrog: 2PL, step {step_size}':32} {num_steps:6} {int(solution.iterations):10} "
            f"{int(solution.fallback_steps):8} {error:10.1e} (relative)",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--only", nargs="+", choices=["gibbs", "rmh", "gate", "leapfrog"])
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
    if not options.only or "leapfrog" in options.only:
        leapfrog(options.seed)


if __name__ == "__main__":
    main()
