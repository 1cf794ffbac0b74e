"""What a GPU would gain, by a roofline model: predicted here, and checked against what is measured.

    python benchmarks/roofline.py [--only german] [--longest 65536] [--platform cuda] [--save]

Counted are the kernels of the compiled programs, with the operations and bytes of each (``hlo``):
of the plain loop, a step; of the parallel solve, a Newton iteration over all draws in one window.
The times follow from a device's rates and its launch latency (``machine_model``). The Newton
iterations are counted by solving. The assumptions are

- the kernels are those of the program that XLA compiles for the device it runs on, here; on a CPU
  of what the package runs on an accelerator: the associative scan in place of the CPU's loop, all
  steps in one batch, and its strides. A GPU's program is fused otherwise;
- kernels follow one another, each with its launch; a loop on a GPU launches the kernels of its body
  in every turn, and hands nothing to the host in between;
- every array is read from and written to the main memory of the GPU: its cache is not counted;
- a kernel reaches the published peaks, without tensor cores. Small ones do not: their launch takes
  longer than their work in any case;
- drawing the random numbers is left out, which both sides do in one batch;
- iterations grow no more beyond the longest chain that they were counted for.

The check takes the same program and the same model for the device it runs on, a CPU by rates that
are measured first.
"""

import argparse
import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from harness import Table, in_turn, parser_of, start
from hlo import Launch, launches, number, total
from machine_model import Machine, measured_cpu, predicted, published
from posteriors import PROBLEMS, Problem, german_credit, schools

from parallel_mcmc._tree import num_steps
from parallel_mcmc.kernels.base import BoundKernel
from parallel_mcmc.kernels.chain import Parallel
from parallel_mcmc.solver.buffers import in_parts
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.newton import newton_iteration
from parallel_mcmc.solver.plain_loop import run_sequentially
from parallel_mcmc.solver.strides import strided

DEVICES = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB")
LENGTHS = (16, 128, 1024, 8192, 65_536)
SHOWN = 1024
"""The shortest chain in the table; shorter ones are for the crossover."""
# Turns of the loops that are compiled and timed.
STEPS, ITERATIONS = 256, 4


class Case(NamedTuple):
    """A posterior and a kernel."""

    posterior: str
    build: Callable[[], Problem]
    kind: str
    checked: int
    """Draws of the iteration that is timed."""
    counted: int
    """Draws of the longest chain whose iterations are counted."""
    method: Newton | None = None
    """None for that of the kernel."""


CASES = (
    Case("german credit", german_credit, "MALA", 1024, 8192),
    Case("german credit", german_credit, "HMC", 1024, 8192),
    # Far from a Gaussian: the kernel's own model of the Jacobian does not converge.
    Case("eight schools", schools, "HMC", 1024, 8192, Newton()),
    Case("logistic 50,000 x 100", PROBLEMS["logistic 50,000 x 100"], "HMC", 32, 128),
    Case("linear 200,000 x 50", PROBLEMS["linear 200,000 x 50"], "HMC", 32, 128),
)


@contextlib.contextmanager
def for_an_accelerator() -> Iterator[None]:
    """Trace what an accelerator runs where the package has another way for a CPU."""

    def other(*arguments, default, **_):
        return default(*arguments)

    with (
        mock.patch.object(jax.lax, "platform_dependent", other),
        mock.patch.object(jax, "default_backend", lambda: "gpu"),
    ):
        yield


class Chain(NamedTuple):
    """A chain to be solved."""

    kernel: Any
    bound: BoundKernel
    state: Any
    """The kernel's state at the start."""
    method: Newton

    def keys(self, length: int) -> jax.Array:
        """Return the keys of the draws."""
        return jax.random.split(jax.random.key(2), length)

    def draws(self, length: int) -> Any:
        """Return the random numbers."""
        return jax.vmap(self.bound.draw)(self.keys(length))

    def loop(self, draws: Any) -> Any:
        """Run the plain loop."""
        return run_sequentially(self.bound.recurrence, self.bound.enter(self.state), draws)

    def iterate(self, draws: Any) -> Any:
        """Make a few Newton iterations, with all draws in one window."""
        method, recurrence = self.method, self.bound.recurrence
        stride = method.stride_of(num_steps(draws))
        if stride > 1:
            recurrence, draws = strided(recurrence, stride), in_parts(draws, stride)
        anchor = self.bound.enter(self.state)
        guess = recurrence.guess(anchor, draws)
        x = jax.vmap(recurrence.chart.coordinates)(guess)
        length, dim = x.shape

        def body(count, carry):
            step = newton_iteration(
                method,
                recurrence,
                anchor,
                carry[0],
                draws,
                carry[1],
                self.bound.solver_scale(x.dtype),
                count,
                tolerance=1e-6,
                left=length,
            )
            return step.guess, step.memory, step.found

        memory = method.initial_memory(length, dim, x.dtype)
        shape = jax.eval_shape(partial(body, 0), (guess, memory))
        found = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape[2])
        return jax.lax.fori_loop(0, ITERATIONS, body, (guess, memory, found))

    def iterations(self, length: int) -> int:
        """Count the Newton iterations until all draws are found, in one window."""
        solve = jax.jit(Parallel(self.method, length).solve)
        return int(solve(self.kernel, self.state, self.keys(length))[0].iterations)


def chain_of(case: Case) -> Chain:
    """Build a posterior with its data, and its chain's start."""
    problem = case.build()
    kernel = problem.kernel(case.kind)
    state = kernel.init(jax.random.normal(jax.random.key(1), (problem.dim,)))
    bound = kernel.bind(state.position)
    return Chain(kernel, bound, state, case.method or bound.method)


def of_a_turn(kernels: list[Launch], turns: int) -> list[Launch]:
    """Return the kernels of one turn of the loop that a program is."""
    return [kernel._replace(count=kernel.count / turns) for kernel in kernels]


def step_kernels(chain: Chain, apart: bool = False) -> list[Launch]:
    """Return the kernels of a step of the plain loop; see ``hlo.launches`` for ``apart``."""
    shapes = jax.eval_shape(lambda: chain.draws(STEPS))
    compiled = jax.jit(chain.loop).lower(shapes).compile()
    return of_a_turn(launches(compiled.as_text(), apart), STEPS)


def iteration_kernels(chain: Chain, length: int, apart: bool = False) -> tuple[list[Launch], float]:
    """Return the kernels of a Newton iteration, and the bytes of memory it takes."""
    shapes = jax.eval_shape(lambda: chain.draws(length))
    # A function of its own: what was traced for another device is not to be found again.
    compiled = jax.jit(lambda draws: chain.iterate(draws)).lower(shapes).compile()
    memory = compiled.memory_analysis()
    size = memory.temp_size_in_bytes + memory.output_size_in_bytes + memory.argument_size_in_bytes
    return of_a_turn(launches(compiled.as_text(), apart), ITERATIONS), size


def check(case: Case, chain: Chain, machine: Machine | None, table: Table, repeats: int) -> float:
    """Compare prediction and measurement on this device; return the seconds of a step."""
    step, iteration = step_kernels(chain), iteration_kernels(chain, case.checked)[0]
    few, many = jax.jit(chain.draws, static_argnums=0)(STEPS), chain.draws(case.checked)
    loop, iterate = jax.jit(chain.loop), jax.jit(chain.iterate)
    times = in_turn({"step": lambda: loop(few), "iteration": lambda: iterate(many)}, repeats)
    for name, kernels, width, turns in (
        ("step", step, 1, STEPS),
        ("iteration", iteration, case.checked, ITERATIONS),
    ):
        work = total(kernels)
        measured = times[name].median / turns
        model = predicted(kernels, machine) if machine else None
        table.add(
            case.posterior,
            case.kind,
            name,
            width,
            number(kernels),
            (work.products + work.elementwise) / 1e6,
            work.transcendental / 1e6,
            work.bytes / 1e6,
            model and 1e6 * model,
            1e6 * measured,
            model and model / measured,
        )
    return times["step"].median / STEPS


class Prediction(NamedTuple):
    """The times of a draw, in seconds."""

    draws: int
    iterations: int
    counted: int
    loop: float
    parallel: float
    bytes: float

    @property
    def gain(self) -> float:
        """How many times as fast the parallel solve is."""
        return self.loop / self.parallel


def predictions(
    case: Case, chain: Chain, machines: list[Machine], longest: int
) -> dict[str, list[Prediction]]:
    """Return the predictions for every machine and length."""
    step = step_kernels(chain, apart=True)
    found: dict[str, list[Prediction]] = {machine.name: [] for machine in machines}
    for length in LENGTHS:
        if length > longest:
            break
        counted = min(length, case.counted)
        with for_an_accelerator():
            # A shorter chain is counted with the stride of the long one.
            stride = chain.method.stride_of(length)
            fixed = dataclasses.replace(chain.method, stride=min(stride, counted))
            iterations = chain._replace(method=fixed).iterations(counted)
            kernels, size = iteration_kernels(chain, length, apart=True)
        for machine in machines:
            parallel = iterations * predicted(kernels, machine) / length
            loop = predicted(step, machine)
            found[machine.name].append(
                Prediction(length, iterations, counted, loop, parallel, size)
            )
    return found


def crossover(rows: list[Prediction]) -> float | None:
    """Return the draws from which on the parallel solve is faster, by interpolation.

    The shortest length if it is so there already, and None if it never is.
    """
    if rows[0].gain >= 1:
        return rows[0].draws
    for before, after in zip(rows, rows[1:], strict=False):
        if before.gain < 1 <= after.gain:
            part = -math.log(before.gain) / math.log(after.gain / before.gain)
            return before.draws * (after.draws / before.draws) ** part
    return None


def cases_of(options: argparse.Namespace) -> Iterator[tuple[Case, Chain]]:
    """Build the cases that were asked for, one after the other."""
    for case in CASES:
        if any(part in f"{case.posterior} {case.kind}" for part in options.only):
            yield case, chain_of(case)


def main():
    parser = parser_of(__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[""], help="posteriors and kernels whose name holds this"
    )
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="draws of a chain")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each side")
    options = start(parser)
    double = not options.x32
    device = jax.devices()[0].device_kind
    own = measured_cpu() if device == "cpu" else published(device, double)
    print(f"{own}\n")
    machines = [machine for name in DEVICES if (machine := published(name, double))]
    names = {"posterior": "<22", "kernel": "<6"}
    checked = Table(
        "roofline check",
        names
        | {
            "of": "<9",
            "draws": "6,d",
            "kernels": "7,.0f",
            "Mflop": "9,.2f",
            "M exp or log": "12,.3f",
            "MB": "8,.2f",
            "predicted µs": "12,.1f",
            "measured µs": "11,.1f",
            "ratio": "5.2f",
        },
    )
    # Once for the check, before the compilations that follow; a posterior is held no longer.
    steps = {
        case: check(case, chain, own, checked, options.repeats) for case, chain in cases_of(options)
    }
    checked.save(options)
    gains = Table(
        "roofline",
        names
        | {
            "device": "<21",
            "draws": "6,d",
            "iterations": "10d",
            "counted at": "10,d",
            "GB": "6.2f",
            "loop µs": "9,.2f",
            "parallel µs": "11,.3f",
            "gain": "7,.2f",
            "gain over the loop here": "23,.2f",
        },
    )
    crossovers: list[tuple] = []
    for case, chain in cases_of(options):
        found = predictions(case, chain, machines, options.longest)
        for machine in machines:
            rows = found[machine.name]
            crossovers.append((case.posterior, case.kind, machine.name, crossover(rows)))
            for row in rows:
                if row.draws < SHOWN:
                    continue
                fits = row.bytes <= machine.memory
                gains.add(
                    case.posterior,
                    case.kind,
                    machine.name,
                    row.draws,
                    row.iterations,
                    row.counted,
                    row.bytes / 1e9,
                    1e6 * row.loop,
                    1e6 * row.parallel if fits else None,
                    row.gain if fits else None,
                    steps[case] / row.parallel if fits else None,
                )
    gains.save(options)
    ends = Table("roofline crossover", names | {"device": "<21", "faster from draws": "17,.0f"})
    for row in crossovers:
        ends.add(*row)
    ends.save(options)


if __name__ == "__main__":
    main()
