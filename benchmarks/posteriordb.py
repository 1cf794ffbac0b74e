"""Write the table of docs/reliability.md: posteriors of posteriordb against reference draws.

    python benchmarks/posteriordb.py [--seed 0]

4 chains of `parallel_mcmc.numpyro.HMC` at its defaults, 1,000 steps of warmup and 1,000 draws, in
float64: from NumPyro's initial positions, and from positions 10 posterior standard deviations off
in every coordinate. Deviations are those of means, standard deviations and quantiles (5, 50, 95 %)
from the reference draws, in combined Monte Carlo standard errors.
"""

import argparse
import pathlib
import platform
import sys

import jax

import parallel_mcmc as pmc

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from validation.posteriordb import MODELS, Posterior  # noqa: E402

COLUMNS = [
    "posterior",
    "start",
    "R-hat",
    "ESS, bulk",
    "ESS, tail",
    "largest deviation",
    "leapfrog steps",
    "divergences",
]


def row(name, start, report):
    (parameter, statistic), value = max(report.deviations.items(), key=lambda item: item[1])
    return (
        f"| {name} | {start} | {report.rhat:.4f} | {report.ess_bulk:.0f} | {report.ess_tail:.0f} | "
        f"{value:.1f} ({statistic} of {parameter}) | {report.num_steps:.0f} | "
        f"{report.divergences} |"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(
        f"jax {jax.__version__}, parallel_mcmc {pmc.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {jax.default_backend()}\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for name in MODELS:
        posterior = Posterior(name)
        print(row(name, "usual", posterior.run(options.seed)), flush=True)
        far = posterior.far_positions(options.seed + 1)
        print(row(name, "bad", posterior.run(options.seed + 1, far)), flush=True)


if __name__ == "__main__":
    main()
