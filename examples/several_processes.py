"""Draw chains by several processes, each of which keeps its own, and summarise all of them.

Start every process with the same command but for its number; here two on one machine:

    python examples/several_processes.py --processes 2 --process 0 --checkpoint run.zarr &
    python examples/several_processes.py --processes 2 --process 1 --checkpoint run.zarr

On a cluster, leave the numbers and the coordinator out: SLURM, Open MPI and Cloud TPU tell JAX of
them. The checkpoint must be on a file system that all processes share. If a process ends early,
start all of them again with --resume.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import parallel_mcmc as pmc
from parallel_mcmc.data import load_german_credit


def logdensity(data, position):
    """Log posterior density of a logistic regression, up to a constant."""
    X, y = data
    logits = position["alpha"] + X @ position["beta"]
    prior = (position["alpha"] / 2.5) ** 2 + jnp.sum(position["beta"] ** 2)
    return jnp.sum(y * logits - jnp.logaddexp(0.0, logits)) - 0.5 * prior


def draw(arguments):
    """Return the samples; every process gets all of them."""
    # One row of devices for every process: no chain is spread over two of them.
    devices = np.reshape(jax.devices(), (jax.process_count(), -1))
    mesh = jax.sharding.Mesh(devices, ("chain", "time"))
    X, y, _ = load_german_credit()
    target = jax.tree_util.Partial(logdensity, (jnp.asarray(X), jnp.asarray(y)))
    kernel = pmc.hmc(target, 0.05, None, 8)
    if arguments.resume:
        return pmc.resume(arguments.checkpoint, kernel, mesh=mesh)
    chains = arguments.chains
    start = {"alpha": jnp.full(chains, -1.0), "beta": jnp.zeros((chains, X.shape[1]))}
    return pmc.sample(
        jax.random.key(0),
        kernel,
        start,
        arguments.draws,
        num_chains=chains,
        solver="parallel",
        mesh=mesh,
        checkpoint=arguments.checkpoint,
        checkpoint_every=arguments.every,
    )


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, help="number of processes")
    parser.add_argument("--process", type=int, help="number of this one, from 0")
    parser.add_argument("--coordinator", default="127.0.0.1:9876", help="address of process 0")
    parser.add_argument("--chains", type=int, default=4, help="chains of all processes")
    parser.add_argument("--draws", type=int, default=1000, help="draws of every chain")
    parser.add_argument("--checkpoint", help="folder that the draws are written to")
    parser.add_argument("--every", type=int, help="draws between two checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on with --checkpoint")
    arguments = parser.parse_args()
    if arguments.processes is None:
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(arguments.coordinator, arguments.processes, arguments.process)
    samples = draw(arguments)
    import arviz as az

    table = az.summary(samples.to_arviz(), var_names=["alpha"], round_to="none")
    print(table[["mean", "sd", "ess_bulk", "r_hat"]].to_string())


if __name__ == "__main__":
    main()
