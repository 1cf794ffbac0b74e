"""Chains over a mesh of devices: the draws of one device, whatever the mesh."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import workers

import parallel_mcmc as pmc
from parallel_mcmc.kernels.chain import Parallel, Sequential
from parallel_mcmc.placement.over_mesh import OverMesh

WORKER = pathlib.Path(__file__).with_name("placement_worker.py")
MATRIX = [
    f"{kernel} {method}"
    for kernel in ("mala", "hmc")
    for method in ("surrogate", "diagonal", "dense")
]
OTHERS = (
    "auto",
    "auto by chains",
    "default",
    "rmh",
    "97 draws",
    "5 draws",
    "3 chains",
    "1 chain",
    "time alone",
    "chains alone",
    "axes swapped",
    "typed axes",
)
START = jnp.zeros((2, 3))


def logdensity(q):
    return -0.5 * jnp.sum(q**2)


def kernel():
    return pmc.hmc(logdensity, 0.4, None, 3)


def mesh_of(*names):
    """Return a mesh of the one device of this process."""
    return jax.sharding.Mesh(np.reshape(jax.devices()[:1], (1,) * len(names)), names)


def draw(**options):
    options = {"num_chains": 2, "solver": "parallel", "progress_bar": False} | options
    return pmc.sample(jax.random.key(0), kernel(), START, 50, **options)


def run(*names):
    return workers.results(WORKER, *names)


def check(case, chains=4):
    assert case["position"] < 1e-9 and case["final"] < 1e-9 and case["info"] == 0
    assert case["shape"] == [True, chains] and case["fallback"] == 0


@pytest.mark.parametrize(
    "names",
    [("chain", "time"), *(pytest.param((n,), marks=pytest.mark.slow) for n in ("time", "chain"))],
)
def test_a_mesh_of_one_device_changes_nothing(names):
    # In double precision the tolerance would be another.
    here, there = draw(), draw(mesh=mesh_of(*names))
    np.testing.assert_array_equal(there.position, here.position)
    np.testing.assert_array_equal(there.info.is_accepted, here.info.is_accepted)
    np.testing.assert_array_equal(there.stats.iterations, here.stats.iterations)


def test_the_plain_loop_over_chains():
    here = draw(solver="sequential")
    there = draw(solver="sequential", mesh=mesh_of("chain", "time"))
    np.testing.assert_array_equal(there.position, here.position)


def test_chains_over_eight_devices_are_those_of_the_loop():
    check(run("hmc 2x4")["hmc 2x4"])


@pytest.mark.slow
@pytest.mark.parametrize("name", MATRIX)
def test_any_mesh_gives_the_draws_of_the_loop(name):
    cases = run(name)[name]
    assert len(cases) == 4  # 8 x 1, 4 x 2, 2 x 4, 1 x 8
    for case in cases:
        check(case)


@pytest.mark.slow
def test_other_meshes_lengths_and_numbers_of_chains():
    cases = run(*OTHERS)
    for name in OTHERS:
        check(cases[name], int(name[0]) if "chain" in name and name[0].isdigit() else 4)
    assert cases["auto"]["solver"] == "parallel"
    assert cases["auto by chains"]["solver"] == "sequential"


@pytest.mark.slow
def test_data_may_be_spread_as_well():
    assert run("data")["data"] < 1e-9


@pytest.mark.slow
def test_a_stored_run_goes_on_over_the_same_mesh_only():
    case = run("checkpoint")["checkpoint"]
    assert case["error"] < 1e-9 and case["same"] == 0
    assert "mesh: chain 2, time 4 in the checkpoint, absent given" in case["told"]


def test_a_mesh_of_other_axes_is_refused():
    for names in (("x",), ("data",), ("chain", "time", "model")):
        with pytest.raises(ValueError, match=r'mesh must have an axis "chain" or "time".*got axes'):
            draw(mesh=mesh_of(*names))


def test_what_is_no_mesh_is_refused():
    with pytest.raises(TypeError, match="mesh must be a jax.sharding.Mesh, got list"):
        draw(mesh=jax.devices())


class Devices:
    """Stands for a mesh of more devices than there are."""

    def __init__(self, *processes, names=("chain", "time")):
        device = type("Device", (), {})
        self.devices = np.empty(np.shape(processes), object)
        for at, process in np.ndenumerate(np.array(processes)):
            self.devices[at] = device()
            self.devices[at].process_index = process
        self.axis_names = names
        self.shape = dict(zip(names, self.devices.shape, strict=True))
        self.size = self.devices.size


def test_the_loop_cannot_share_the_steps_of_a_chain():
    placement = OverMesh(Devices([0, 0], [0, 0]), 2)
    with pytest.raises(ValueError, match='solver must be "parallel".*2 devices along "time"'):
        placement.adapt(Sequential())
    with pytest.raises(ValueError, match="method must have no trust_region"):
        placement.adapt(Parallel(pmc.elk(), 8))
    assert placement.adapt(Parallel(None, 7)).window == 8


def test_windows_and_segments_are_whole_on_every_device():
    placement = OverMesh(Devices([0, 0, 0]), 2)
    runner = placement.adapt(Parallel(None, 7))
    assert runner.window == 9 and placement.segment(runner, 20) == 27
    assert OverMesh(Devices([0], [0]), 2).segment(Parallel(None, 7), 20) == 20


def test_a_process_keeps_the_chains_of_its_rows(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    kept = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        placement = OverMesh(Devices([0, 0], [0, 0], [1, 1]), 5)
        assert placement.groups(None, 5) == (slice(0, 5),)
        kept += placement.by_process().groups(None, 5)
    assert kept == [slice(0, 4), slice(4, 5)]


@pytest.mark.parametrize("rows", [([0, 1], [0, 1]), ([0, 0], [1, 1], [0, 0]), ([1, 1], [0, 0])])
def test_a_process_must_have_whole_rows_in_one_block(monkeypatch, rows):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="mesh must have the devices of one process in every row"):
        OverMesh(Devices(*rows), 6).by_process()


@pytest.mark.parametrize("process", [0, 1])
def test_every_process_needs_a_chain_and_all_notice(monkeypatch, process):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: process)
    with pytest.raises(ValueError, match="num_chains must give every process a chain, got 1"):
        OverMesh(Devices([0], [1]), 1).by_process()
