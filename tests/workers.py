"""Tests that need several devices: what they run is a process of its own.

How many devices the host stands for is settled when JAX starts, by the environment.
"""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def environment(devices):
    """Return that of a process in double precision whose host stands for so many devices."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "true",
    }


def start(script, *arguments, devices):
    """Start a process."""
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(script, *names):
    """Return what a script on eight devices prints of the cases named, as JSON."""
    process = start(script, *names, devices=8)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(output)
