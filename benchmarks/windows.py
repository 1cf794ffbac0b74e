"""Time of a draw for every length of the window and model of the Jacobian, against the plain loop.

    python benchmarks/windows.py [--only german] [--windows 32 512] [--draws 4096] [--x32]

HMC on the first posteriors of ``posteriors.py``, one chain in whitened coordinates. Times are those
of the compiled program, once warm: the shorter of two runs.
"""

from harness import Table, parser_of, start
from posteriors import PROBLEMS
from scaling import measure

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel, Sequential

METHODS = {"Surrogate": None, "Diagonal": pmc.Newton(pmc.Diagonal()), "Dense": pmc.Newton()}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", default=["german", "eight", "banana"])
    parser.add_argument("--windows", nargs="+", type=int, default=(32, 128, 512, 2048))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--draws", type=int, default=4096)
    options = start(parser)
    table = Table(
        "windows",
        {
            "posterior": "<22",
            "model of the Jacobian": "<10",
            "window": "7,d",
            "iterations": "6,d",
            "evaluations a draw": "7.1f",
            "left to the loop": "6,d",
            "µs a draw": "9.2f",
            "the loop's over it": "7.2f",
        },
    )
    for name, build in PROBLEMS.items():
        if not any(part in name for part in options.only):
            continue
        problem = build()
        loop = measure(Sequential(), problem, options.draws, 1)[1]
        for method in options.methods:
            for window in options.windows:
                runner = Parallel(METHODS[method], window)
                chain, seconds, _ = measure(runner, problem, options.draws, 1)
                stats = chain.stats
                evaluations = stats.gradient_evaluations.sum() / options.draws
                table.add(
                    *(name, method, window, stats.iterations.sum(), evaluations),
                    *(stats.fallback_steps.sum(), seconds / options.draws * 1e6, loop / seconds),
                )
    table.save(options)


if __name__ == "__main__":
    main()
