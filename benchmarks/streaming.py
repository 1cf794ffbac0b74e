"""Memory and time of long runs whose draws are written to disk.

    python benchmarks/streaming.py [--draws 100000 1000000] [--every 10000]

Eight schools, non-centred, over mu, log tau and theta (10 dimensions), one chain by HMC with 8
leapfrog steps, single precision. Every length runs in a process of its own, in memory and with a
checkpoint. Printed are the largest resident memory of the process, the seconds of sampling,
compilation included, and the size of the checkpoint.
"""

import argparse
import json
import pathlib
import resource
import sys
import tempfile

import jax
import jax.numpy as jnp
from harness import Table, in_new_process, parser_of, start
from posteriors import eight_schools

import parallel_mcmc as pmc


def logdensity(q):
    return eight_schools(**q)


def peak_memory():
    """Return the largest resident memory so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def measure(draws, every):
    """Draw in this process, and print what it took."""
    # Posterior variances, rounded, in the order of the leaves: log tau, mu, theta.
    kernel = pmc.hmc(logdensity, 0.3, jnp.array([1.3, 11.0] + [0.9] * 8), 8)
    start = {"mu": jnp.array(4.4), "log_tau": jnp.array(1.0), "theta": jnp.zeros(8)}
    options = {"solver": "sequential", "progress_bar": False}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run"
        if every:
            options |= {"checkpoint": path, "checkpoint_every": every}
        samples = pmc.sample(jax.random.key(0), kernel, start, draws, **options)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    result = {"peak": peak_memory(), "seconds": samples.sampling_time, "size": size / 2**20}
    print(json.dumps(result))


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--draws", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--every", type=int, default=10_000, help="draws of a segment on disk")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    # A child measures, and prints nothing else.
    if (options := parser.parse_args()).measure is not None:
        measure(options.measure, options.every)
        return
    options = start(parser)
    columns = {"draws": "10,d", "kept": "<10", "peak MiB": "8,.0f", "seconds": "8.1f"}
    table = Table("streaming", columns | {"MiB on disk": "8,.0f"})
    for draws in options.draws:
        for every in (0, options.every):
            arguments = ("--measure", str(draws), "--every", str(every))
            found = in_new_process(__file__, *arguments)
            table.add(
                draws,
                "on disk" if every else "in memory",
                *(found[what] for what in ("peak", "seconds", "size")),
            )
    table.save(options)


if __name__ == "__main__":
    main()
