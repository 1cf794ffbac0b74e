"""The choice for a kernel: made once in a process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

import jax

from parallel_mcmc._tree import PyTree, signature
from parallel_mcmc.choice.accelerator import faster_on_accelerator
from parallel_mcmc.choice.cpu import faster_on_cpu
from parallel_mcmc.choice.outcome import Choice, choice_of
from parallel_mcmc.choice.runner import choose_runner, on_cpu, window_length
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Parallel, Runner
from parallel_mcmc.solver import Newton, Shooting

REMEMBERED = 64
"""Choices that are kept for further calls with the same kernel and shapes."""

_remembered: OrderedDict[Hashable, tuple[Runner, Choice]] = OrderedDict()


def choose(
    solver: str | Newton | Shooting,
    window: int | None,
    kernel: Kernel,
    states: PyTree,
    keys: jax.Array,
    blocks: int = 1,
) -> tuple[Runner, Choice]:
    """Return how chains are run, and why; ``"auto"`` measures.

    The outcome is remembered for the kernel's functions and shapes, so that a process measures
    once.

    Parameters
    ----------
    solver, window
        Arguments of :func:`parallel_mcmc.sample`.
    kernel
        A transition kernel.
    states
        States of the kernel, leaves ``(num_chains, ...)``.
    keys
        Of every draw, shape ``(num_chains, num_samples)``.
    blocks
        Number of devices that share the steps of a chain.

    Raises
    ------
    ValueError
        If ``solver`` or ``window`` is not one of the accepted values.
    """
    num_samples = keys.shape[1]
    runner = choose_runner(solver, window, num_samples, blocks)
    if not (isinstance(solver, str) and solver == "auto"):
        return choice_of(runner, "it was asked for")
    if blocks > 1:
        return choice_of(runner, f"{blocks} devices share the steps of a chain")
    if jax.process_count() > 1:
        return choice_of(runner, "several processes must choose alike, so none measures")
    parallel = Parallel(None, window_length(window, num_samples, blocks))
    question = parallel.window, signature(kernel, states, keys)
    found = _remembered.pop(question, None)
    if found is None:
        faster = faster_on_cpu if on_cpu() else faster_on_accelerator
        found = faster(parallel, kernel, states, keys)
    _remembered[question] = found
    if len(_remembered) > REMEMBERED:
        _remembered.popitem(last=False)
    return found
