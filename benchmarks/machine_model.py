"""A roofline model of time: a kernel takes its launch, and the slower of its data and its work.

    time = launches · latency + Σ max(bytes / bandwidth, operations / rate)

Kernels follow one another; none overlaps with the next (Williams, Waterman and Patterson, CACM
52(4), 2009, with the launches added). Small kernels may have rates of their own: those of one core
and its cache.
"""

import math
import pathlib
import re
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from hlo import Launch, Work, launches, number


class Rates(NamedTuple):
    """What is done in a second."""

    products: float
    """Operations of matrix products."""
    elementwise: float
    transcendental: float
    """Exponentials, logarithms and their like."""
    bytes: float


class Machine(NamedTuple):
    """A device, for one precision."""

    name: str
    latency: float
    """Seconds that a launch takes."""
    rates: Rates
    memory: float
    """Bytes."""
    cache: float = 0.0
    """Bytes of a kernel that is small; none is by default."""
    small: Rates | None = None
    """Rates of such kernels."""


def duration(kernel: Launch, machine: Machine) -> float:
    """Return the predicted seconds of one launch."""
    small = machine.small is not None and kernel.work.bytes <= machine.cache
    rates = machine.small if small and machine.small else machine.rates
    seconds = Work(*(part / rate for part, rate in zip(kernel.work, rates, strict=True)))
    return machine.latency + max(seconds.bytes, sum(seconds) - seconds.bytes)


def predicted(kernels: Iterable[Launch], machine: Machine) -> float:
    """Return the predicted seconds of a program."""
    return sum(kernel.count * duration(kernel, machine) for kernel in kernels)


# Of kernels that follow one another on a stream, or in a CUDA graph: an assumption, for published
# figures go from 2 to 5 µs. Where launches are all that costs, a gain does not depend on it.
LATENCY = 3e-6


class _Published(NamedTuple):
    """Figures of a datasheet: units of 1e12 a second, of multiprocessors and GHz, and of GB."""

    single: float
    double: float
    bandwidth: float
    processors: int
    clock: float
    memory: float


# Without sparsity, tensor cores or TF32, so for float32 at JAX's precision "highest". NVIDIA H100
# Tensor Core GPU datasheet (SXM: FP32 67, FP64 34 TFLOP/s, HBM3 3.35 TB/s; PCIe: 51, 26, 2 TB/s),
# NVIDIA H200 datasheet (67, 34, 4.8 TB/s, 141 GB), NVIDIA A100 80GB datasheet (SXM: FP32 19.5,
# FP64 9.7, 2,039 GB/s); processors and boost clocks: the architecture whitepapers of both.
_PUBLISHED = {
    "NVIDIA H100 80GB HBM3": _Published(67, 34, 3.35, 132, 1.98, 80),
    "NVIDIA H100 PCIe": _Published(51, 26, 2.0, 114, 1.755, 80),
    "NVIDIA H200": _Published(67, 34, 4.8, 132, 1.98, 141),
    "NVIDIA A100-SXM4-80GB": _Published(19.5, 9.7, 2.039, 108, 1.41, 80),
}
# Results of the special function units in a clock cycle and multiprocessor, of compute capability
# 8.0 and 9.0: CUDA C++ Programming Guide, table of arithmetic throughput. Double precision has no
# such units: an assumption of 40 operations a result.
_SPECIAL = 16
_DOUBLE_TRANSCENDENTAL = 40


def published(kind: str, double: bool) -> Machine | None:
    """Return the published figures of a GPU by its ``device_kind``, None where it is not known."""
    if kind not in _PUBLISHED:
        return None
    figures = _PUBLISHED[kind]
    peak = (figures.double if double else figures.single) * 1e12
    special = figures.processors * figures.clock * 1e9 * _SPECIAL
    transcendental = peak / _DOUBLE_TRANSCENDENTAL if double else special
    # A peak counts a multiplication with an addition as two.
    rates = Rates(peak, peak / 2, transcendental, figures.bandwidth * 1e12)
    return Machine(kind, LATENCY, rates, figures.memory * 1e9)


def measured_cpu(repeats: int = 5) -> Machine:
    """Return what this CPU does, measured: all cores on large kernels, one core on small ones."""
    cache = _cache_of_a_core()
    dtype = jnp.result_type(float)
    few, many = cache // 8 // dtype.itemsize, 2**25 // dtype.itemsize
    small = _rates(few, 64, 20, repeats)
    large = _rates(many, 1024, 8, repeats)
    return Machine("this CPU", _latency(repeats), large, math.inf, cache, small)


def _rates(size: int, side: int, turns: int, repeats: int) -> Rates:
    """Return the rates of kernels on ``size`` numbers, and of products of few columns."""
    x = jnp.linspace(0.1, 0.9, size)
    left = jnp.full((side, 32), 0.01)

    def polynomial(x: jax.Array) -> jax.Array:
        y = x
        for _ in range(32):
            y = 0.5 * y + x
        return y

    def special(x: jax.Array) -> jax.Array:
        return jnp.log1p(jnp.exp(-x))

    def product(z: jax.Array) -> jax.Array:
        # Few inner columns, as of a regression: the product is written as it is computed.
        return left @ z[:32]

    kernels: dict[str, tuple[Callable, jax.Array, float]] = {
        "products": (product, jnp.full((side, side), 0.01), 2.0 * 32 * side * side),
        "elementwise": (polynomial, x, 64.0 * size),
        "transcendental": (special, x, 2.0 * size),
        "bytes": (lambda x: 0.5 * x, x, 2.0 * size * x.dtype.itemsize),
    }
    return Rates(
        **{
            name: work / _seconds(run, start, turns, repeats)
            for name, (run, start, work) in kernels.items()
        }
    )


def _seconds(run: Callable, start: jax.Array, turns: int, repeats: int) -> float:
    """Return the seconds of a turn, the least of several."""
    compiled = jax.jit(lambda x: jax.lax.fori_loop(0, turns, lambda _, x: run(x), x))
    return _least(compiled, start, repeats) / turns


def _least(compiled: Callable, start: jax.Array, repeats: int) -> float:
    jax.block_until_ready(compiled(start))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(start))
        times.append(time.perf_counter() - begin)
    return min(times)


def _latency(repeats: int) -> float:
    """Return the seconds that a tiny kernel takes in a loop."""

    def body(_: jax.Array, x: jax.Array) -> jax.Array:
        for _ in range(20):
            # A cumulative sum is fused with nothing.
            x = jax.lax.cummax(x)[::-1]
        return x

    def run(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 200, body, x)

    start = jnp.arange(8.0)
    compiled = jax.jit(run).lower(start).compile()
    return _least(compiled, start, repeats) / number(launches(compiled.as_text()))


def _cache_of_a_core() -> int:
    """Return the bytes of the second-level cache, 1 MiB where that is not to be known."""
    try:
        text = pathlib.Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text()
    except OSError:
        return 2**20
    match = re.fullmatch(r"(\d+)K\s*", text)
    return int(match[1]) * 2**10 if match else 2**20
