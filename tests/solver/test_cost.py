"""What an iteration costs, so that it cannot creep up: operations and memory of the program."""

import jax
import jax.numpy as jnp
import pytest
from programs import equations, longest_loop

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel

DIM = 9
LENGTH = 50


def step(x, u):
    return 0.5 * jnp.sin(x) + u


def model(x, u, y):
    return jnp.full(DIM, 0.5)


def solved(method, scale=1.0, length=LENGTH, dim=DIM):
    """Return the program that solves a plain recurrence in one window."""

    def run(start, inputs):
        solution = pmc.solve(step, start, inputs, method=method, window=length, scale=scale)
        return solution._replace(problem=None)

    arguments = jnp.zeros(dim), jax.ShapeDtypeStruct((length, dim), jnp.float32)
    return jax.jit(run).trace(*arguments)


def sampled(method):
    """Return the program that draws a chain of MALA in one window."""
    kernel = pmc.mala(lambda x: -0.5 * jnp.sum(x**2), 0.3)
    runner = Parallel(method, LENGTH)
    state = kernel.init(jnp.zeros(DIM))
    return jax.jit(runner.run).trace(kernel, state, jax.random.split(jax.random.key(0), LENGTH))


DIAGONAL = {
    "jacobi": pmc.jacobi(),
    "surrogate": pmc.Newton(pmc.Surrogate(model)),
    "diagonal": pmc.quasi_deer(),
    "sweep": pmc.Newton(pmc.Diagonal()),
    "quasi_elk": pmc.quasi_elk(),
}


# Operations of an iteration, for a CPU and an accelerator together, as JAX 0.10.2 traces it and as
# 0.12.0 does, in nearly twice as many.
COUNTS = [
    (solved, pmc.jacobi(), (457, 800)),
    (solved, DIAGONAL["surrogate"], (632, 1112)),
    (solved, pmc.quasi_deer(), (763, 1433)),
    (solved, pmc.Newton(), (764, 1429)),
    (sampled, pmc.Newton(pmc.Surrogate()), (736, 1313)),
    (sampled, pmc.quasi_deer(), (843, 1564)),
    (sampled, pmc.Newton(), (906, 1849)),
]


@pytest.mark.parametrize(("program", "method", "counts"), COUNTS)
def test_operations_of_an_iteration(program, method, counts):
    # Other versions of JAX differ by a few.
    count = counts[jax.__version_info__ >= (0, 12)]
    assert len(longest_loop(program(method).jaxpr.jaxpr)) <= 1.1 * count


@pytest.mark.parametrize("method", DIAGONAL.values(), ids=DIAGONAL.keys())
def test_a_diagonal_model_makes_no_matrix(method):
    shapes = [
        variable.aval.shape
        for equation in equations(solved(method).jaxpr.jaxpr)
        for variable in equation.outvars
    ]
    # No step needs more than a few vectors, be it in one array.
    assert (LENGTH, DIM) in shapes
    assert not [shape for shape in shapes if shape.count(DIM) > 1]


@pytest.mark.parametrize(("scale", "arrays"), [(1.0, 12), (None, 15.5)])
def test_an_iteration_needs_few_arrays_of_the_size_of_the_chain(scale, arrays):
    length, dim = 65_536, 100
    memory = solved(pmc.quasi_deer(), scale, length, dim).lower().compile().memory_analysis()
    size = 4 * length * dim
    # The oldest JAX needs up to an array more.
    arrays += jax.__version_info__ < (0, 8)
    assert (memory.temp_size_in_bytes + memory.output_size_in_bytes) / size <= arrays


def wide_step(x, u):
    # What it computes in between is many times the size of a state.
    return 0.5 * jnp.mean(jnp.sin(x + jnp.arange(1000.0)[:, None]), axis=0) + u


@pytest.mark.parametrize("method", [pmc.jacobi(), pmc.quasi_deer()], ids=["jacobi", "quasi_deer"])
@pytest.mark.parametrize("length", [4096, 4099])
def test_memory_does_not_grow_by_what_steps_compute_in_between(length, method):
    def run(start, inputs):
        solution = pmc.solve(wide_step, start, inputs, method=method, window=length, scale=1)
        return solution._replace(problem=None)

    arguments = jnp.zeros(DIM), jax.ShapeDtypeStruct((length, DIM), jnp.float32)
    memory = jax.jit(run).lower(*arguments).compile().memory_analysis()
    # One batch of all steps takes a thousand arrays of the size of the chain.
    assert memory.temp_size_in_bytes <= 4 * DIM * (20 * length + 3 * 1000 * 256)
