"""Solves chains on eight devices and prints what came out, as JSON; run by ``test_mesh``.

The arguments are names of ``CASES``.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from programs import messages

import parallel_mcmc as pmc

MIX = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4))) / 3
START = jnp.linspace(-1.0, 1.0, 4)
INPUTS = jax.random.normal(jax.random.key(1), (2, 64, 4))


def mesh_of(name):
    if name == "8":
        # The axes of this one are typed, in the versions of JAX that do so by default.
        return jax.make_mesh((8,), ("time",))
    shape = tuple(int(size) for size in name.split("x"))
    return jax.sharding.Mesh(np.reshape(jax.devices(), shape), ("chain", "time"))


def step(x, u):
    return 0.5 * jnp.sin(MIX @ x) + u


def logistic_map(x, u):
    return 4 * x * (1 - x) + 0 * u


def pair(state, u):
    return {"x": step(state["x"], u), "count": state["count"] + 1}


# One stride for all: the default one is that of a device's part, and iterations differ by it.
METHODS = {
    "zero": pmc.jacobi(),
    "diagonal": pmc.quasi_deer(),
    "sweep": pmc.Newton(pmc.Diagonal(), stride=2),
    "block": pmc.Newton(pmc.BlockDiagonal(), stride=2),
    "dense": pmc.deer(),
    "surrogate": pmc.Newton(pmc.Surrogate(lambda x, u, y: 0.5 * MIX), stride=2),
}
STRIDED = pmc.Newton(stride=2)


def loop(step, start, inputs):
    return jax.lax.scan(lambda s, u: (step(s, u),) * 2, start, inputs)[1]


def distance(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.max(jnp.abs(x - y))) for x, y in pairs)


def compare(inputs=INPUTS[0], *, step=step, start=START, mesh="8", placed=None, **settings):
    """Return how the chain over many devices differs from that of one and of the loop.

    The devices are given ``placed``, where that is another array than ``inputs``.
    """
    settings = {"method": STRIDED} | settings
    here = pmc.solve(step, start, inputs, **settings)
    spread = inputs if placed is None else placed
    there = pmc.solve(step, start, spread, mesh=mesh_of(mesh), **settings)
    return {
        "error": distance(there.states, here.states),
        "loop": distance(there.states, loop(step, start, inputs)),
        "iterations": [int(here.iterations), int(there.iterations)],
        "fallback": [int(here.fallback_steps), int(there.fallback_steps)],
        "growth": [float(here.growth), float(there.growth)],
    }


def chains(mesh, spmd_axis_name):
    def run(inputs, **settings):
        return pmc.solve(step, START, inputs, **settings).states

    spread = jax.vmap(lambda u: run(u, mesh=mesh_of(mesh)), spmd_axis_name=spmd_axis_name)
    return distance(jax.jit(spread)(INPUTS), jnp.stack([run(u) for u in INPUTS]))


def gradient():
    def loss(inputs, **settings):
        return jnp.sum(pmc.solve(step, START, inputs, **settings).states ** 2)

    here = jax.grad(loss)(INPUTS[0])
    return distance(jax.grad(lambda u: loss(u, mesh=mesh_of("8")))(INPUTS[0]), here)


def collectives(method, length, scale, mesh="8"):
    """Return the collectives of a compiled ``solve``."""

    def run(inputs):
        settings = {"method": METHODS[method], "scale": scale, "mesh": mesh_of(mesh)}
        return pmc.solve(step, START, inputs, **settings)._replace(problem=None)

    return messages(jax.jit(run).lower(jnp.ones((length, 4))).compile().as_text())


def placed():
    inputs = jax.device_put(
        INPUTS[0], jax.sharding.NamedSharding(mesh_of("8"), jax.sharding.PartitionSpec("time"))
    )
    return compare(placed=inputs)


def budget():
    return [
        compare(INPUTS[0, :length], max_iterations=count, method=METHODS["zero"])
        for length, count in ((64, 1), (64, 5), (61, 9))
    ]


def exact():
    """Return how many states differ from the loop's, by any operation that is rounded alike."""

    def contract(x, u):
        y = x[::-1] + 0.25 * x
        return 0.5 * y / (1 + jnp.abs(y)) + u

    inputs = INPUTS.reshape(-1, 4)
    expected = loop(contract, START, inputs)

    def differ(**settings):
        found = pmc.solve(contract, START, inputs, tolerance=0, mesh=mesh_of("8"), **settings)
        return [bool(found.converged), int((found.states != expected).any(axis=-1).sum())]

    return [differ(), differ(window=48), differ(method=METHODS["diagonal"])]


def chaos():
    # Of every state: with a stride, for which the blocks of eight devices are too short, one device
    # finds them all.
    options = {"step": logistic_map, "start": jnp.array(0.3), "method": pmc.deer()}
    return compare(jnp.zeros(200), **options)


# Windows that slide and windows that do not err by themselves: each by less than what is compared.
TIGHT = 1e-10

CASES = {
    **{name: lambda method=method: compare(method=method) for name, method in METHODS.items()},
    "1x8": lambda: compare(mesh="1x8"),
    "2x4": lambda: compare(mesh="2x4"),
    "61 steps": lambda: compare(INPUTS[0, :61]),
    "3 steps": lambda: compare(INPUTS[0, :3]),
    "placed": placed,
    "scale": lambda: compare(scale=2.0),
    "guess": lambda: compare(initial_guess=loop(step, START, INPUTS[0])),
    "tree": lambda: compare(step=pair, start={"x": START, "count": jnp.array(0)}),
    "windows": lambda: compare(window=16, tolerance=TIGHT),
    "windows that do not divide": lambda: compare(
        INPUTS[0, :61], window=13, method=METHODS["diagonal"], tolerance=TIGHT
    ),
    "windows 2x4": lambda: compare(window=20, mesh="2x4", initial_guess=INPUTS[0], tolerance=TIGHT),
    "budget": budget,
    "budget in windows": lambda: compare(
        INPUTS[0, :61], max_iterations=7, method=METHODS["diagonal"], window=16
    ),
    "chaos": chaos,
    "exact": exact,
    "chains 2x4 by axis": lambda: chains("2x4", "chain"),
    "chains 8": lambda: chains("8", None),
    "gradient": gradient,
    "collectives dense": lambda: collectives("dense", 512, 1.0),
    "collectives dense long": lambda: collectives("dense", 2048, 1.0),
    "collectives sweep": lambda: collectives("sweep", 512, 1.0),
    "collectives diagonal": lambda: collectives("diagonal", 512, 1.0),
    "collectives 2x4": lambda: collectives("dense", 512, 1.0, "2x4"),
    "collectives observed scale": lambda: collectives("dense", 512, None),
}


if __name__ == "__main__":
    print(json.dumps({name: CASES[name]() for name in sys.argv[1:]}))
