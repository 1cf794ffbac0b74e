"""Find out whether the parallel solver pays for a model on this machine.

A warmup tunes the kernel; then one chain is drawn by the parallel solver and by the plain loop. The
command prints how the two compare, what solver="auto" takes, and what would help.
"""

from __future__ import annotations

import argparse
import json
import warnings

import jax

from parallel_mcmc._errors import SequentialFallbackWarning
from parallel_mcmc.cli.options import add_problem, precision
from parallel_mcmc.cli.parser import Parser, integer


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    add_problem(parser)
    parser.add_argument(
        "--samples",
        # The standard error of the Lyapunov exponent needs twenty.
        type=integer(20),
        default=1024,
        metavar="N",
        help="draws to look at (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the diagnosis and return its exit status."""
    with precision(args.x64), warnings.catch_warnings():
        # The report has a line for it.
        warnings.simplefilter("ignore", SequentialFallbackWarning)
        import parallel_mcmc as pmc
        from parallel_mcmc.cli.examples import example
        from parallel_mcmc.warmup import window_adaptation

        chosen = example(args.model)
        start_key, warmup_key, key = jax.random.split(jax.random.key(args.seed), 3)
        posterior = chosen.posterior(start_key, 1)
        warmup = window_adaptation(
            warmup_key,
            chosen.kernel(args.kernel, posterior.logdensity_fn),
            posterior.initial_position,
            args.warmup,
            target_acceptance_rate=chosen.target_acceptance_rate[args.kernel],
        )
        report = pmc.diagnose(warmup.kernel, warmup.position, key, num_samples=args.samples)
    print(json.dumps(report.as_dict(), indent=2) if args.json else report)
    return 0
