import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from store_cases import (
    START,
    assert_same,
    begin,
    copy_of_a_run,
    draw,
    draw_and_crash,
    kernel,
    logdensity,
)

import parallel_mcmc as pmc
from parallel_mcmc.store.manifest import Manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def path(folder, tmp_path, monkeypatch):
    return copy_of_a_run(folder, tmp_path / "run", monkeypatch, 2)


def resume(path, given=None, *arguments, **options):
    given = kernel() if given is None else given
    return pmc.resume(path, given, *arguments, progress_bar=False, **options)


def refusal(path, *arguments, **options):
    """Return what the error says differs, and its advice."""
    before = Manifest.read(path)
    with pytest.raises(pmc.CheckpointMismatchError) as caught:
        resume(path, *arguments, **options)
    assert Manifest.read(path) == before
    first, *lines, advice = str(caught.value).splitlines()
    assert first == f"the checkpoint '{path}' is of another run:"
    return [line.strip() for line in lines], advice


OTHER_PROGRAM = "kernel.logdensity_fn: another program than in the checkpoint"
OBSERVED = np.array([0.5, 1.0])


def shifted(q):
    return logdensity(q) + 0.1 * q["b"]


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            lambda: kernel(0.3),
            ["kernel.step_size: float32 0.4000000059604645 in the checkpoint, float32 "
             "0.30000001192092896 given"],
        ),
        (
            lambda: pmc.hmc(logdensity, 0.4, None, 4),
            ["kernel.num_integration_steps: 3 in the checkpoint, 4 given"],
        ),
        (
            lambda: pmc.hmc(logdensity, 0.4, [1.0, 1.0, 4.0], 3),
            ["kernel.metric.scale: float32 1.0 in the checkpoint, float32 [1.0, 1.0, 2.0] given"],
        ),
        (
            lambda: pmc.hmc(logdensity, 0.4, None, pmc.UniformSteps(1, 3)),
            [
                "kernel.num_integration_steps: 3 in the checkpoint, UniformSteps given",
                "kernel.num_integration_steps.low: absent in the checkpoint, 1 given",
                "kernel.num_integration_steps.high: absent in the checkpoint, 3 given",
            ],
        ),
        (lambda: pmc.hmc(shifted, 0.4, None, 3), [OTHER_PROGRAM]),
        (
            lambda: pmc.hmc(shifted, 0.4, None, 4),
            ["kernel.num_integration_steps: 3 in the checkpoint, 4 given", OTHER_PROGRAM],
        ),
        (
            lambda: dataclasses.replace(kernel(), gate=pmc.SmoothGate()),
            ["kernel.gate: HardGate in the checkpoint, SmoothGate given"],
        ),
    ],
    ids=["step size", "steps", "metric", "jitter", "log density", "two", "gate"],
)  # fmt: skip
def test_another_kernel_is_refused(path, given, lines):
    found, advice = refusal(path, given())
    # A smooth gate has a width as well.
    assert found[: len(lines)] == lines
    assert advice.startswith("Give what the run began with")


def test_another_class_of_kernel_is_refused(path):
    found, _ = refusal(path, pmc.mala(logdensity, 0.4))
    assert found[0] == "kernel: HMC in the checkpoint, MALA given"


def test_other_data_are_refused(tmp_path, monkeypatch):
    def make(data):
        return pmc.hmc(lambda q: -jnp.sum((q["a"] - data) ** 2) - q["b"] ** 2, 0.4, None, 3)

    begin(monkeypatch, tmp_path / "run", kernel=make(OBSERVED))
    lines, _ = refusal(tmp_path / "run", make(OBSERVED + 1e-3))
    assert lines == [OTHER_PROGRAM]
    resume(tmp_path / "run", make(OBSERVED.copy()))  # the same data


def test_other_data_bound_to_the_log_density_are_refused(tmp_path, monkeypatch):
    def density(data, q):
        return -jnp.sum((q["a"] - data) ** 2) - q["b"] ** 2

    def make(data):
        return pmc.hmc(jax.tree_util.Partial(density, jnp.asarray(data)), 0.4, None, 3)

    begin(monkeypatch, tmp_path / "run", kernel=make(OBSERVED))
    lines, _ = refusal(tmp_path / "run", make(OBSERVED + 1))
    assert lines == [
        "kernel.logdensity_fn.args[0]: float32 [0.5, 1.0] in the checkpoint, float32 [1.5, 2.0] "
        "given"
    ]


def test_what_only_the_values_tell_is_refused(tmp_path, monkeypatch):
    # The code behind a callback is not traced.
    def make(factor):
        def outside(x):
            return np.asarray(factor * x, np.float32)

        def density(q):
            shape = jax.ShapeDtypeStruct((), jnp.float32)
            x = jnp.sum(q["a"] ** 2) + q["b"] ** 2
            return -jax.pure_callback(outside, shape, x, vmap_method="sequential")

        return pmc.rmh(density, 0.4)

    begin(monkeypatch, tmp_path / "run", kernel=make(1.0))
    lines, _ = refusal(tmp_path / "run", make(2.0))
    assert lines == ["initial state.logdensity[0]: -1.34… in the checkpoint, -2.68… given"] or (
        len(lines) == 1 and lines[0].startswith("initial state.logdensity[0]: -1.34")
    )


def test_a_kernel_for_other_positions_is_refused(path):
    def flat(q):
        return -jnp.sum(q["c"] ** 2)

    lines, _ = refusal(path, pmc.hmc(flat, 0.4, None, 3))
    assert len(lines) == 1
    assert lines[0].startswith("position: {\"['a']\": 'float32 (1, 2)'")
    assert "KeyError: 'c'" in lines[0]


@pytest.mark.parametrize(
    ("position", "lines"),
    [
        (
            START | {"a": jnp.zeros(3)},
            ["initial_position['a']: float32 (1, 2) in the checkpoint, float32 (1, 3) given"],
        ),
        (
            {"a": jnp.zeros(2)},
            ["initial_position['b']: float32 (1,) in the checkpoint, absent given"],
        ),
        (
            START | {"b": jnp.array(0.5, jnp.float16)},
            ["initial_position['b']: float32 (1,) in the checkpoint, float16 (1,) given"],
        ),
    ],
    ids=["shape", "structure", "dtype"],
)
def test_another_position_is_refused(path, position, lines):
    assert refusal(path, kernel(), position)[0] == lines


def test_another_start_is_refused(path):
    lines, _ = refusal(path, kernel(), START | {"b": jnp.array(0.25)})
    assert lines[0] == "initial state.position['b'][0]: 0.5 in the checkpoint, 0.25 given"
    resume(path, kernel(), START)


def test_another_precision_is_refused(path, x64):
    lines, _ = refusal(path)
    assert "JAX's default precision: float32 in the checkpoint, float64 given" in lines


def test_another_solver_is_refused(path):
    lines, _ = refusal(path, solver="parallel")
    assert lines[0] == "solver: Sequential in the checkpoint, Parallel given"


def test_a_method_is_given_again(tmp_path, monkeypatch):
    begin(monkeypatch, tmp_path / "run", solver=pmc.quasi_deer(), window=8)
    with pytest.raises(ValueError, match=r"solver must be the pmc\.Newton method"):
        resume(tmp_path / "run")
    lines, _ = refusal(tmp_path / "run", solver=pmc.deer())
    assert "solver.method.jacobian: Diagonal in the checkpoint, Dense given" in lines


@pytest.mark.parametrize("name", ["jax", "device"])
def test_another_environment_needs_consent(tmp_path, path, name):
    run = Manifest.read(path)
    (old,) = run.environments
    # Another version may also spell a program in another way.
    older = old | {
        "versions": old["versions"] | {name: "0.0.1"},
        "programs": dict.fromkeys(old["programs"], "unknown"),
    }
    dataclasses.replace(run, environments=(older,)).write(path)
    lines, advice = refusal(path)
    assert lines == [f"{name}: 0.0.1 in the checkpoint, {old['versions'][name]} given"]
    assert advice.startswith("With accept_environment=True the run goes on")
    assert_same(resume(path, accept_environment=True), draw(tmp_path / "whole"))
    after = Manifest.read(path)
    assert after.environments == (older, old | {"from_draw": 32})
    resume(path)  # and from now on without


def test_rounding_of_the_first_state_is_of_the_environment(path):
    recorder_write(path, "logdensity", lambda value: np.nextafter(value, np.float32(0)))
    lines, advice = refusal(path)
    assert len(lines) == 1 and lines[0].startswith("initial state.logdensity[0]: ")
    assert advice.startswith("With accept_environment=True the run goes on")
    resume(path, accept_environment=True)


def recorder_write(path, name, change):
    """Change an array of the state that the run started from."""
    zarr = pytest.importorskip("zarr")
    array = zarr.open_array(path / "state" / name, mode="r+")
    array[0] = change(array[0])


class Pair(NamedTuple):
    a: jax.Array
    b: jax.Array


def pair_density(q):
    return -jnp.sum(q.a**2) - q.b**2


def test_a_position_of_the_users_own_is_given_again(tmp_path, monkeypatch):
    pair, path = Pair(**START), tmp_path / "run"
    change = {"kernel": pmc.hmc(pair_density, 0.4, None, 3), "initial_position": pair}
    draw_and_crash(monkeypatch, path, 2, **change)
    given = pmc.hmc(pair_density, 0.4, None, 3)
    with pytest.raises(ValueError, match="initial_position must be given again.*Pair"):
        resume(path, given)
    lines, _ = refusal(path, given, START)
    assert len(lines) == 1 and "Pair" in lines[0] and "given" in lines[0]
    samples = resume(path, given, pair)
    assert isinstance(samples.position, Pair)
    assert_same(samples, draw(tmp_path / "whole", **change))


def test_bad_arguments(path):
    with pytest.raises(TypeError, match="path must be a path, got int"):
        resume(3)
    with pytest.raises(TypeError, match="kernel must be a kernel"):
        resume(path, 3)
    with pytest.raises(ValueError, match="solver must be"):
        resume(path, solver="fast")


def test_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"path must be a checkpoint of sample.*no manifest.json"):
        resume(tmp_path)
