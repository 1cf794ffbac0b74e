"""What a user waits for, and what a run holds: imports, first calls, memory.

    python benchmarks/startup.py [--repeats 5]

Every figure is taken in processes of their own, without a cache of compiled programs: the time of
``import parallel_mcmc`` beside that of ``import jax`` and NumPyro, which packages it loads, the
first and the second call of German credit by HMC with four chains, and the largest resident memory
of the process after it.
"""

import os
import statistics

from harness import Table, in_new_process, parser_of, start

LAZY = ("blackjax", "numpyro", "arviz", "matplotlib", "xarray", "zarr")

IMPORT = """
import json, sys, time
begin = time.perf_counter()
import {module}
print(json.dumps([time.perf_counter() - begin, [m for m in {lazy} if m in sys.modules]]))
"""

CALLS = """
import json, resource, sys, time
import jax
jax.config.update("jax_enable_x64", {x64})
{config}
import jax.numpy as jnp
import parallel_mcmc as pmc
sys.path.insert(0, {folder!r})
from german_credit import whitened_posterior
logdensity, dim = whitened_posterior()
kernel = pmc.hmc(logdensity, 0.3, jnp.ones(dim), 5)
starts = jax.random.normal(jax.random.key(0), (4, dim))
times = []
for seed in range(2):
    called = time.perf_counter()
    pmc.sample(jax.random.key(seed), kernel, starts, 1000, num_chains=4, solver={solver!r},
               progress_bar=False)
    times.append(time.perf_counter() - called)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([*times, peak / (2**20 if sys.platform == "darwin" else 2**10)]))
"""


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="processes for each figure")
    options = start(parser)
    imports = Table("imports", {"module": "<24", "median, s": "8.2f", "of the adapters": "<20"})
    modules = ("jax", "parallel_mcmc", "numpyro", "parallel_mcmc.numpyro")
    found = {module: [] for module in modules}
    # In turn, so that all meet the same machine.
    for _ in range(options.repeats):
        for module in modules:
            found[module].append(in_new_process("-c", IMPORT.format(module=module, lazy=LAZY)))
    for module, runs in found.items():
        loaded = ", ".join(runs[0][1]) or "none"
        imports.add(module, statistics.median(time for time, _ in runs), loaded)
    imports.save(options)

    calls = Table(
        "first call",
        {
            "solver": "<10",
            "first call, s": "8.2f",
            "second call, s": "8.2f",
            "peak memory, MiB": "8,.0f",
        },
    )
    config = f'jax.config.update("jax_platforms", {options.platform!r})' if options.platform else ""
    settings = {"x64": not options.x32, "folder": os.path.dirname(__file__), "config": config}
    for solver in ("auto", "parallel"):
        runs = [
            in_new_process("-c", CALLS.format(solver=solver, **settings))
            for _ in range(options.repeats)
        ]
        calls.add(solver, *(statistics.median(column) for column in zip(*runs, strict=True)))
    calls.save(options)


if __name__ == "__main__":
    main()
