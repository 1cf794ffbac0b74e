"""Runs of two processes: each keeps its chains, and together they go on after one has ended."""

import json
import pathlib
import signal
import socket
import time

import jax
import numpy as np
import process_worker
import pytest
import store_cases
import workers

import parallel_mcmc as pmc
from parallel_mcmc.store import shards
from parallel_mcmc.store.making import make_checkpoint

WORKER = pathlib.Path(process_worker.__file__)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ended(started):
    """Return what the processes printed, and their errors, once all have ended."""
    # What one of them waits for, another that has ended does not send; JAX notices after minutes.
    while all(process.poll() is None for process in started):
        time.sleep(0.2)
    if any(process.returncode for process in started):
        for process in started:
            process.kill()
    return [process.communicate(timeout=300) for process in started]


def outputs(started):
    """Return what the processes printed, if all have ended well."""
    printed = ended(started)
    for process, (_, errors) in zip(started, printed, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in printed]


def two_processes(folder, task, killed_after=None):
    """Run both processes; return what each of them printed, or None where one was killed."""
    port = free_port()
    started = []
    for process in range(2):
        arguments = [str(process), str(port), str(folder), task]
        if process == 1 and killed_after is not None:
            arguments.append(str(killed_after))
        started.append(workers.start(WORKER, *arguments, devices=2))
    if killed_after is not None:
        errors = ended(started)[1][1]
        assert started[1].returncode == -signal.SIGKILL, errors
        return None
    return [json.loads(output.splitlines()[-1]) for output in outputs(started)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "run"
    return folder, two_processes(folder, "checkpoint")


@pytest.fixture
def whole(x64):
    """The same chains by one process and the plain loop."""
    arguments = process_worker.arguments(None) | {"solver": "sequential", "window": None}
    return pmc.sample(**arguments)


@pytest.mark.slow
def test_every_process_has_the_whole_run_and_has_written_its_own(undisturbed, whole):
    folder, (first, second) = undisturbed
    assert first == second and first["chains"] == process_worker.CHAINS
    chains = [shards.Manifest.read(part).chains for part in shards.shard_folders(folder)]
    assert chains == [slice(0, 2), slice(2, 3)]
    draws = pmc.store.open_draws(folder)
    assert draws.sizes["chain"] == process_worker.CHAINS
    for name, values in whole.position.items():
        np.testing.assert_allclose(draws[name], values, atol=1e-9)
        np.testing.assert_allclose(first["mean"][name], values.mean((0, 1)), atol=1e-9)
    accepted = pmc.store.open_draws(folder, "info")["is_accepted"]
    np.testing.assert_array_equal(accepted, whole.info.is_accepted)
    assert first["accepted"] == whole.info.is_accepted.sum()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["memory", "time over both"])
def test_draws_in_memory_are_those_of_all_processes(tmp_path, task, whole):
    first, second = two_processes(tmp_path, task)
    assert first == second and first["chains"] == process_worker.CHAINS
    np.testing.assert_allclose(first["final"], whole.final_state.position["b"], atol=1e-9)


@pytest.mark.slow
def test_a_run_goes_on_after_one_process_was_killed(tmp_path, undisturbed):
    folder = tmp_path / "run"
    two_processes(folder, "checkpoint", killed_after=2)
    # What both have can be read, and is that of the other run.
    expected = pmc.store.open_draws(undisturbed[0])
    draws = pmc.store.open_draws(folder)
    assert draws.sizes["draw"] == 2 * process_worker.EVERY
    assert draws.equals(expected.isel(draw=slice(0, 2 * process_worker.EVERY)))
    assert two_processes(folder, "resume") == undisturbed[1]
    assert pmc.store.open_draws(folder).equals(expected)
    again = pmc.store.open_draws(folder, "info")
    assert again.equals(pmc.store.open_draws(undisturbed[0], "info"))


@pytest.mark.slow
def test_as_many_processes_must_resume_as_began(undisturbed):
    with pytest.raises(ValueError, match="as many processes as there are, 1, got one by 2"):
        pmc.resume(undisturbed[0], process_worker.kernel())


@pytest.mark.slow
def test_a_missing_shard_is_named(undisturbed, tmp_path):
    part = shards.shard_folders(undisturbed[0])[1]
    (tmp_path / part.name).symlink_to(part)
    with pytest.raises(ValueError, match="all 2 shards of the run, got 1"):
        pmc.store.open_draws(tmp_path)


def test_one_process_needs_no_shards(tmp_path):
    assert shards.own_folder(tmp_path) == tmp_path
    assert shards.shard_folders(tmp_path) == [tmp_path]
    assert shards.fewest(3) == 3
    assert shards.together(lambda: 5) == 5


def test_shards_are_not_written_into_another_run(tmp_path, monkeypatch):
    store_cases.draw(tmp_path / "run")
    monkeypatch.setattr(shards.jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="checkpoint must be a path where nothing is.*It holds 70"):
        make_checkpoint(tmp_path / "run", None, None, None)


@pytest.mark.parametrize(("here", "there"), [(True, False), (False, True), (False, False)])
def test_what_fails_in_one_process_fails_in_all(monkeypatch, here, there):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        shards.multihost_utils, "process_allgather", lambda mine: np.array([mine, there])
    )

    def action():
        if here:
            raise OSError("no space")
        return 5

    if here:
        with pytest.raises(OSError, match="no space"):
            shards.together(action)
    elif there:
        with pytest.raises(RuntimeError, match=r"failed in process \[1\]"):
            shards.together(action)
    else:
        assert shards.together(action) == 5


EXAMPLE = workers.ROOT / "examples" / "several_processes.py"


@pytest.mark.slow
def test_the_example_of_the_guide(tmp_path):
    def run(*more):
        options = ["--processes", "2", "--draws", "60", "--checkpoint", str(tmp_path / "run")]
        options += ["--coordinator", f"127.0.0.1:{free_port()}", *more]
        started = [
            workers.start(EXAMPLE, *options, "--process", str(process), devices=1)
            for process in range(2)
        ]
        return [output[output.index("mean") :] for output in outputs(started)]

    first, second = run()
    assert first == second and "alpha" in first
    assert run("--resume") == [first, first]
    assert pmc.store.open_draws(tmp_path / "run").sizes["draw"] == 60
