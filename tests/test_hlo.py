"""The reader of compiled programs: benchmarks/hlo.py counts what XLA counts, and loops in full."""

import jax
import jax.numpy as jnp
import pytest
from hlo import Work, launches, longest_loop, number, total


def compiled(run, *arguments):
    return jax.jit(run).lower(*arguments).compile()


def smooth(x):
    return jnp.tanh(x @ x.T).sum()


def test_without_loops_it_counts_what_xla_counts():
    program = compiled(smooth, jnp.ones((40, 30)))
    work, analysis = total(launches(program.as_text())), program.cost_analysis()
    assert work.products == 2 * 40 * 40 * 30
    assert work.products + work.elementwise == pytest.approx(analysis["flops"], rel=0.05)
    assert work.transcendental == analysis["transcendentals"] == 40 * 40
    assert work.bytes == pytest.approx(analysis["bytes accessed"], rel=0.05)


def test_a_loop_counts_as_often_as_it_turns():
    def run(turns):
        def body(_, x):
            return 0.9 * (x @ x)

        return compiled(lambda x: jax.lax.fori_loop(0, turns, body, x), jnp.eye(8))

    few, many = (launches(run(turns).as_text()) for turns in (3, 12))
    assert total(many).products == 4 * total(few).products == 12 * 2 * 8**3
    assert number(many) > 3 * number(few)


def test_of_an_array_only_what_is_sliced_is_read():
    def run(x, start):
        return 2 * jax.lax.dynamic_slice(x, (start,), (10,))

    work = total(launches(compiled(run, jnp.ones(100_000), 5).as_text()))
    assert work.bytes < 1000


def test_of_an_array_only_what_is_replaced_is_written():
    def run(x):
        def body(t, x):
            return x.at[t].set(2 * x[t] + 1)

        return jax.lax.fori_loop(0, 50, body, x)

    x = jnp.ones((1000, 100))
    work = total(launches(compiled(run, x).as_text()))
    # The argument is copied once, because the loop works in place.
    assert 50 * 400 < work.bytes < 4 * x.nbytes


SMALL = """HloModule jit_run

%body (x: f64[3]) -> f64[3] {
  %x = f64[3]{0} parameter(0)
  %y = f64[3]{0} negate(%x)
  ROOT %z = f64[3]{0} exponential(%y)
}

ENTRY %main (x: f64[3]) -> f64[3] {
  %x = f64[3]{0} parameter(0)
  ROOT %call = f64[3]{0} call(%x), to_apply=%body, frontend_attributes={xla_cpu_small_call="true"}
}
"""


def test_a_small_loop_is_one_kernel_on_a_cpu_alone():
    (one,), (first, second) = launches(SMALL), launches(SMALL, apart=True)
    assert one.work == first.work.plus(second.work)
    assert (first.kind, second.kind) == ("negate", "exponential")


# As XLA writes them for a GPU: a product by a library, and kernels that are launched together.
GPU = """HloModule jit_run

%fused (p: f32[64,32]) -> f32[64,32] {
  %p = f32[64,32]{1,0} parameter(0)
  ROOT %exp = f32[64,32]{1,0} exponential(%p)
}

%command_buffer (a: f32[64,16], b: f32[16,32]) -> f32[64,32] {
  %a = f32[64,16]{1,0} parameter(0)
  %b = f32[16,32]{1,0} parameter(1)
  %gemm = (f32[64,32]{1,0}, s8[0]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm"
  %product = f32[64,32]{1,0} get-tuple-element(%gemm), index=0
  ROOT %fusion = f32[64,32]{1,0} fusion(%product), kind=kLoop, calls=%fused
}

ENTRY %main (a: f32[64,16], b: f32[16,32]) -> f32[64,32] {
  %a = f32[64,16]{1,0} parameter(0)
  %b = f32[16,32]{1,0} parameter(1)
  ROOT %call = f32[64,32]{1,0} call(%a, %b), to_apply=%command_buffer
}
"""


def test_a_program_of_a_gpu():
    gemm, fusion = launches(GPU)
    assert gemm.kind == "custom-call"
    assert gemm.work == Work(products=2 * 64 * 16 * 32, bytes=4 * (64 * 16 + 16 * 32 + 64 * 32))
    assert fusion.work == Work(transcendental=64 * 32, bytes=2 * 4 * 64 * 32)


def test_counts_of_the_longest_loop_have_the_loops_within():
    def turn(_, x):
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y) @ jnp.ones((4, 4)), x)

    program = jax.jit(lambda x: jax.lax.fori_loop(0, 5, turn, x)).lower(jnp.ones(4)).compile()
    inner = jax.jit(lambda x: turn(0, x)).lower(jnp.ones(4)).compile()
    both, one = longest_loop(program.as_text()), longest_loop(inner.as_text())
    assert (both.loops, one.loops) == (1, 0)
    assert both.instructions > one.instructions > 0
