"""The faults of the long runs: what benchmarks/inject_faults.py injects loses nothing."""

import random
import sys

import inject_faults as faults
import pytest


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
