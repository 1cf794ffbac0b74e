"""The faults of the long runs: what scripts/inject_faults.py injects loses nothing."""

import importlib.util
import pathlib
import random
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "inject_faults.py"
spec = importlib.util.spec_from_file_location("inject_faults", SCRIPT)
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    samples = faults.run(tmp_path_factory.mktemp("reference") / "run")
    faults.leaves(samples)
    return samples


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of Linux")
@pytest.mark.parametrize("name", faults.FAULTS)
def test_nothing_is_lost(tmp_path, reference, name):
    if name == "disk" and not faults.may_mount():
        pytest.skip("no right to mount a small disk; the file size limit stands for it")
    outcome = faults.FAULTS[name](tmp_path, reference, random.Random(1))
    assert outcome.injected >= (50 if name == "kill" else 5)
    assert outcome.lost == 0
