"""The demo: the same chains by the parallel solver and by the plain loop."""

from __future__ import annotations

import argparse
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import arviz as az
import jax
import numpy as np
from jax.flatten_util import ravel_pytree

import parallel_mcmc as pmc
from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.cli.examples import Example, Posterior, example
from parallel_mcmc.kernels.chain import Parallel
from parallel_mcmc.plots import plot_convergence, plot_trace
from parallel_mcmc.sampling import Samples
from parallel_mcmc.solver.defaults import default_tolerance
from parallel_mcmc.warmup import WarmupResult, window_adaptation

METHODS = {
    "surrogate": pmc.Newton(pmc.Surrogate()),
    "diagonal": pmc.Newton(pmc.Diagonal(sweeps=0)),
    "dense": pmc.Newton(),
}
PICTURED_DRAWS = 500
"""Draws in the picture of the convergence, at most."""
R_HAT = 1.01
"""What R-hat should stay below (arXiv 1903.08008)."""


class Runs(NamedTuple):
    """The chains of one solver, drawn twice."""

    samples: Samples
    first: float
    """Seconds of the first call, compilation included."""
    again: float
    """Seconds of the second call."""


def compare(args: argparse.Namespace) -> None:
    """Run the demo with the options of the command line."""
    say = (lambda *lines: None) if args.quiet else _say
    chosen = example(args.model)
    window = min(args.window or args.samples, args.samples)
    method = args.method or chosen.method
    start_key, warmup_key, key = jax.random.split(jax.random.key(args.seed), 3)
    posterior = chosen.posterior(start_key, args.chains)
    say(*_header(args, chosen, posterior), "")

    warmup, seconds = _timed(lambda: _warm_up(args, chosen, posterior, warmup_key))
    parallel = _run(args, key, warmup, METHODS[method], window)
    sequential = _run(args, key, warmup, "sequential", None)
    say("Warmup", *_warmup_lines(args, warmup, seconds), "")

    samples = parallel.samples
    data = samples.to_arviz(
        position=jax.jit(jax.vmap(jax.vmap(posterior.constrain)))(samples.position),
        coords=chosen.coords,
        dims=chosen.dims,
        observed_data=chosen.observed,
    )
    say(*_summary_lines(data, chosen, args.chains), "")
    say(f"Parallel solve ({method} Jacobian, window of {_count(window, 'draw')})")
    say(*_solver_lines(samples, sequential.samples), "")
    say("Against the sequential chain with the same keys")
    say(*_difference_lines(samples, sequential.samples), "")
    say(*_time_lines(parallel, sequential), "")

    figures = {
        "trace.png": plot_trace(data),
        "convergence.png": _convergence(args, key, warmup, chosen),
    }
    files = [_write(data, args.output / "posterior.nc")]
    for name, figure in figures.items():
        figure.savefig(args.output / name, dpi=150)
        files.append(args.output / name)
    say("Written")
    print("\n".join(str(file) if args.quiet else f"  {file}" for file in files))


def _warm_up(
    args: argparse.Namespace, chosen: Example, posterior: Posterior, key: jax.Array
) -> WarmupResult:
    return window_adaptation(
        key,
        chosen.kernel(args.kernel, posterior.logdensity_fn),
        posterior.initial_position,
        args.warmup,
        num_chains=args.chains,
        target_acceptance_rate=chosen.target_acceptance_rate[args.kernel],
        progress_bar=not args.quiet,
    )


def _run(
    args: argparse.Namespace,
    key: jax.Array,
    warmup: WarmupResult,
    solver: pmc.Newton | str,
    window: int | None,
) -> Runs:
    def draw(progress_bar: bool) -> Samples:
        return pmc.sample(
            key,
            warmup.kernel,
            warmup.position,
            args.samples,
            num_chains=args.chains,
            solver=solver,
            window=window,
            progress_bar=progress_bar,
        )

    show = solver != "sequential" and not args.quiet
    samples, first = _timed(lambda: draw(show))
    _, again = _timed(lambda: draw(False))
    return Runs(samples, first, again)


def _convergence(
    args: argparse.Namespace, key: jax.Array, warmup: WarmupResult, chosen: Example
) -> Any:
    """Draw the residuals of the first draws of the first chain, all of them in one window."""
    draws = min(args.samples, PICTURED_DRAWS)
    first = key if args.chains == 1 else jax.random.split(key, args.chains)[0]
    keys = jax.random.split(first, args.samples)[:draws]
    state = at(warmup.state, 0)

    @jax.jit
    def solve(method: pmc.Newton, kernel: Any, state: PyTree, keys: jax.Array) -> Any:
        solution, _ = Parallel(method, draws).solve(kernel, state, keys)
        return solution.residual_history

    histories = {}
    for name, method in METHODS.items():
        history = np.asarray(solve(method, warmup.kernel, state, keys))
        count = int((~np.isnan(history)).sum())
        histories[f"{name} Jacobian, {_count(count, 'iteration')}"] = history
    figure = plot_convergence(histories, tolerance=default_tolerance(ravel_pytree(state)[0].dtype))
    figure.suptitle(
        f"{_count(draws, 'draw')} at once: {args.kernel.upper()}, {chosen.title.split(':')[0]}",
        fontsize="medium",
    )
    return figure


def _write(data: Any, file: pathlib.Path) -> pathlib.Path:
    data.to_netcdf(file)
    return file


def _timed(fn: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = fn()
    return result, time.perf_counter() - start


# The report.


def _say(*lines: str) -> None:
    print("\n".join(lines), flush=True)


def _row(label: str, value: str) -> str:
    return f"  {label:<28}{value}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _header(args: argparse.Namespace, chosen: Example, posterior: Posterior) -> list[str]:
    position = posterior.initial_position
    size = ravel_pytree(position)[0].size // args.chains
    steps = f" with {_count(chosen.num_integration_steps, 'leapfrog step')}"
    return [
        f"{chosen.title}, {_count(size, 'parameter')}",
        f"{args.kernel.upper()}{steps if args.kernel == 'hmc' else ''}, "
        f"{_count(args.chains, 'chain')} of {_count(args.samples, 'draw')}, "
        f"{'double' if args.x64 else 'single'} precision, {jax.default_backend()}, "
        f"seed {args.seed}",
    ]


def _warmup_lines(args: argparse.Namespace, warmup: WarmupResult, seconds: float) -> list[str]:
    return [
        _row("steps of a chain", f"{args.warmup:,} in {seconds:.1f} s, compilation included"),
        _row("step size", f"{float(warmup.step_size):.3f}, with a dense metric"),
    ]


def _summary(data: Any) -> Any:
    # ArviZ logs that one chain has no R-hat, which the table shows.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return az.summary(data, round_to="none")
    finally:
        logging.disable(before)


def _summary_lines(data: Any, chosen: Example, chains: int) -> list[str]:
    table = _summary(data)
    columns = {
        "mean": ("mean", "{:.3f}"),
        "sd": ("sd", "{:.3f}"),
        "ess_bulk": ("ESS bulk", "{:,.0f}"),
        "ess_tail": ("ESS tail", "{:,.0f}"),
        "r_hat": ("R-hat", "{:.4f}"),
    }
    width = max(28, *(len(str(name)) + 4 for name in table.index))
    head = "".join(f"{title:>10}" for title, _ in columns.values())
    lines = [f"{'Posterior':<{width}}{head}"]
    for name, row in table.iterrows():
        if str(name).split("[")[0] in chosen.shown:
            cells = "".join(f"{form.format(row[c]):>10}" for c, (_, form) in columns.items())
            lines.append(f"  {name!s:<{width - 2}}{cells}")
    stats = data["sample_stats"]
    accepted = float(stats["accepted"].mean())
    divergent = int(stats["diverging"].sum())
    lines += [
        "",
        _row("accepted", f"{accepted:.3f}, {_count(divergent, 'divergent transition')}"),
        _row("smallest bulk ESS", f"{table['ess_bulk'].min():,.0f}"),
    ]
    worst = table["r_hat"].max()
    if chains > 1:
        verdict = "" if worst < R_HAT else f", not below {R_HAT}: draw more, by --samples"
        lines.append(_row("largest R-hat", f"{worst:.4f}{verdict}"))
    return lines


def _solver_lines(parallel: Samples, sequential: Samples) -> list[str]:
    stats = parallel.stats
    chains, draws = parallel.logdensity.shape
    iterations = np.unique(stats.iterations)
    each = f"{iterations[0]:,}" + (f" to {iterations[-1]:,}" if len(iterations) > 1 else "")
    gradients = stats.gradient_evaluations.sum() / (chains * draws)
    plain = sequential.stats.gradient_evaluations.sum() / (chains * draws)
    lines = [
        _row(
            "Newton iterations",
            f"{each} a chain instead of {draws:,} steps: "
            f"{stats.iterations.sum() / (chains * draws):.3f} a draw",
        ),
        _row("gradient evaluations", f"{gradients:,.0f} a draw; {plain:,.0f} in the plain loop"),
    ]
    if stats.fallback_steps.any():
        lines.append(
            _row(
                "not converged",
                f"the plain loop finished {stats.fallback_steps.sum():,} of {chains * draws:,} "
                "steps: try --method dense or a smaller --window",
            )
        )
    return lines


def _difference_lines(parallel: Samples, sequential: Samples) -> list[str]:
    equal = parallel.info.is_accepted == sequential.info.is_accepted
    # From the first decision that differs, a chain is another one.
    same = np.logical_and.accumulate(equal, axis=1)
    difference = max(
        np.max(np.abs(ours - theirs), initial=0.0, where=_like(same, ours))
        for ours, theirs in zip(
            jax.tree.leaves(parallel.position), jax.tree.leaves(sequential.position), strict=True
        )
    )
    lines = [
        _row("accept decisions", f"{equal.sum():,} of {equal.size:,} equal"),
        _row("largest difference", f"{difference:.1e}" + ("" if same.all() else " until then")),
    ]
    for chain in np.flatnonzero(~same.all(axis=1)):
        draw = int(np.argmin(same[chain]))
        margin = sequential.info.accept_margin[chain, draw]
        lines.append(
            _row(
                "" if len(lines) > 2 else "near ties",
                f"chain {chain} from draw {draw:,}, |log accept rate - log u| = {margin:.0e}",
            )
        )
    if not same.all():
        lines.append("  Rounding decided these; the chains that follow are both valid.")
    return lines


def _like(mask: np.ndarray, leaf: np.ndarray) -> np.ndarray:
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (leaf.ndim - 2)), leaf.shape)


def _time_lines(parallel: Runs, sequential: Runs) -> list[str]:
    lines = [f"{'Wall time':<30}{'first call':>12}{'again':>12}"]
    for name, runs in (("parallel", parallel), ("sequential", sequential)):
        lines.append(f"  {name:<28}{runs.first:>10.2f} s{runs.again:>10.2f} s")
    if jax.default_backend() == "cpu":
        lines.append("  On a CPU the sequential loop is expected to be faster for data this small.")
    return lines
