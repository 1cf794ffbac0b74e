"""Inject faults into runs with a checkpoint, and print what was lost.

    python benchmarks/inject_faults.py [--kills 50] [--seed 0]

Every run, two chains of the eight schools posterior in 25 segments, is disturbed, resumed until it
is finished, and compared with an undisturbed one, bit for bit. The table of docs/reliability.md
is made by this. The disk that is full is a small tmpfs, which needs the right to mount one; without
it, and besides it, files are limited in size by the system (RLIMIT_FSIZE).
"""

import argparse
import contextlib
import dataclasses
import errno
import os
import pathlib
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from posteriors import eight_schools

import parallel_mcmc as pmc
from parallel_mcmc._tree import pytree
from parallel_mcmc.kernels.hmc import HMC
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.recorder import OnDisk

DRAWS, EVERY = 2_490, 100
SEGMENTS = -(-DRAWS // EVERY)
READY = "ready"
NO_SPACE = (errno.ENOSPC, errno.EFBIG)
SOUND = 0.99
"""Above it, the uniform number of a transition makes its momentum NaN."""


class Outcome(NamedTuple):
    """What became of the runs with one kind of fault."""

    fault: str
    injected: int
    runs: int
    lost: int
    """Runs whose draws were not those of the undisturbed one."""
    drawn_again: str
    """What had to be drawn again."""


def logdensity(q):
    return eight_schools(**q)


def kernel():
    return pmc.hmc(logdensity, 0.3, None, 4)


def run(path):
    """Go on with the run at ``path``, or begin it."""
    if pathlib.Path(path, "manifest.json").exists():
        return pmc.resume(path, kernel(), progress_bar=False)
    start = {"mu": jnp.full(2, 4.4), "log_tau": jnp.ones(2), "theta": jnp.zeros((2, 8))}
    return pmc.sample(
        jax.random.key(1),
        kernel(),
        start,
        DRAWS,
        num_chains=2,
        solver="sequential",
        progress_bar=False,
        checkpoint=path,
        checkpoint_every=EVERY,
    )


def leaves(samples):
    parts = (samples.position, samples.info, samples.logdensity, samples.stats, samples.final_state)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(parts)]


def same(samples, reference):
    """Whether all is equal, bit for bit."""
    return all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(leaves(samples), leaves(reference), strict=True)
    )


def worker(path, limit_after):
    """Run in a process of its own, for a signal or a limit to end it."""
    if limit_after is not None:
        record = OnDisk.record

        def limited(recorder, segment):
            if recorder.manifest.segments == limit_after:
                # A little of the segment can still be written.
                resource.setrlimit(resource.RLIMIT_FSIZE, (900, resource.RLIM_INFINITY))
            record(recorder, segment)

        OnDisk.record = limited
    print(READY, flush=True)
    try:
        samples = run(path)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        sys.exit(f"no space: {error}; {error.__notes__[0] if hasattr(error, '__notes__') else ''}")
    print(repr(samples))


@contextlib.contextmanager
def process(path, *options):
    """Start a worker, and wait until it is about to sample."""
    command = [sys.executable, __file__, "--worker", str(path), *map(str, options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as child:
        assert child.stdout.readline().strip() == READY, child.stderr.read()
        yield child


def drawn(path):
    return Manifest.read(path).drawn if pathlib.Path(path, "manifest.json").exists() else 0


def kill_at_random(folder, reference, generator, count=50):
    """SIGKILL at random times, in runs that are resumed, and killed again, until they finish."""
    kills = writing = runs = lost = 0
    while kills < count:
        path = folder / f"kill {runs}"
        while drawn(path) < DRAWS:
            before = drawn(path)
            with process(path) as child:
                # As often while it starts as while it writes segments.
                if generator.random() < 0.5:
                    while drawn(path) == before and child.poll() is None:
                        time.sleep(0.01)
                try:
                    child.wait(generator.uniform(0, 0.5))
                except subprocess.TimeoutExpired:
                    child.kill()
                if child.wait() == -signal.SIGKILL:
                    kills += 1
                    writing += drawn(path) > before
                else:
                    assert child.returncode == 0, child.stderr.read()
        lost += not same(run(path), reference)
        runs += 1
        shutil.rmtree(path)
    what = f"SIGKILL at a random time ({writing} while segments were written)"
    return Outcome(what, kills, runs, lost, "the segment it fell into")


def interrupt_at_random(folder, reference, generator, count=5):
    """SIGINT at random times: what has been drawn is returned."""
    sent = lost = 0
    while sent < count:
        path = folder / f"interrupt {sent}"
        with process(path) as child:
            while drawn(path) == 0 and child.poll() is None:
                time.sleep(0.01)
            time.sleep(generator.uniform(0, 0.3))
            child.send_signal(signal.SIGINT)
            shown, told = child.communicate()
        before = drawn(path)
        if before == DRAWS:  # too late
            shutil.rmtree(path)
            continue
        assert child.returncode == 0, told
        returned = f"<{before} of {DRAWS} draws of 2 chains in '{path}'>" in shown
        advised = f"pmc.resume('{path}', kernel) draws the rest" in told
        lost += not (returned and advised and same(run(path), reference))
        sent += 1
    return Outcome("Ctrl-C (SIGINT) at a random time", sent, sent, lost, "the segment it fell into")


def limit_files(folder, reference, generator, count=5):
    """Let no file grow in the middle of a segment."""
    lost = 0
    for index in range(count):
        path, after = folder / f"limit {index}", generator.randrange(SEGMENTS - 1)
        with process(path, "--limit-after", after) as child:
            _, told = child.communicate()
        noticed = child.returncode == 1 and "no space" in told and drawn(path) == after * EVERY
        advised = after == 0 or f"the first {after * EVERY} of {DRAWS}" in told
        lost += not (noticed and advised and same(run(path), reference))
    return Outcome("file size limit (EFBIG)", count, count, lost, "the segment it fell into")


def may_mount():
    """Whether a tmpfs can be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def fill_disk(folder, reference, generator, count=5):
    """Run on a disk too small, enlarge it, and go on."""
    lost = 0
    for index in range(count):
        disk = folder / f"disk {index}"
        disk.mkdir()
        size = generator.randrange(400, 1400)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
        try:
            with process(disk / "run") as child:
                _, told = child.communicate()
            noticed = child.returncode == 1 and "no space" in told and drawn(disk / "run") < DRAWS
            subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
            lost += not (noticed and same(run(disk / "run"), reference))
        finally:
            subprocess.run(["umount", disk], check=True)
    return Outcome("disk full (ENOSPC)", count, count, lost, "the segment it fell into")


def truncate(content, generator):
    return content[: generator.randrange(len(content))]


def flip(content, generator):
    content = bytearray(content)
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(content)


def damage_chunks(name, damage):
    def fault(folder, reference, generator, count=20):
        lost = 0
        original = folder / "original"
        if not original.exists():
            stopped_after(original, SEGMENTS - 5)
        for index in range(count):
            path = folder / f"{name} {index}"
            shutil.copytree(original, path)
            chunk = generator.choice([c for c in sorted(path.rglob("c.*")) if segment_of(c) >= 0])
            changed = damage(chunk.read_bytes(), generator)
            chunk.unlink() if changed is None else chunk.write_bytes(changed)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                samples = run(path)
            (warning,) = [w for w in caught if w.category is pmc.CheckpointDamageWarning]
            named = str(chunk.parent) in str(warning.message)
            exact = f"the first {segment_of(chunk) * EVERY} are whole" in str(warning.message)
            lost += not (named and exact and same(samples, reference))
            shutil.rmtree(path)
        return Outcome(name, count, count, lost, "from the damaged segment on")

    return fault


def segment_of(chunk):
    """Return the segment that a chunk belongs to; -1 for the state at the start."""
    parts = chunk.name.split(".")[1:]
    group = chunk.parent.parent.name
    return int(parts[0]) - 1 if group == "state" else int(parts[0 if group == "stats" else 1])


def stopped_after(path, segments):
    """Make a run that ended after a number of segments."""
    record = OnDisk.record

    def limited(recorder, segment):
        if recorder.manifest.segments == segments:
            raise KeyboardInterrupt
        record(recorder, segment)

    OnDisk.record = limited
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pmc.InterruptedWarning)
            run(path)
    finally:
        OnDisk.record = record


@pytree
@dataclasses.dataclass(frozen=True)
class NanMomentum(HMC):
    """HMC that starts about one trajectory in a hundred, at random, with a NaN for momentum."""

    def draw_like(self, key, position):
        draw = super().draw_like(key, position)
        return draw._replace(normal=jnp.where(draw.uniform > SOUND, jnp.nan, draw.normal))


@pytree
@dataclasses.dataclass(frozen=True)
class Refusing(HMC):
    """HMC that refuses the same transitions instead."""

    def draw_like(self, key, position):
        draw = super().draw_like(key, position)
        return draw._replace(uniform=jnp.where(draw.uniform > SOUND, jnp.inf, draw.uniform))


def nan_at_random(folder, reference, generator, count=5):
    """Compare runs that meet NaN with runs that refuse these transitions."""
    fields = {field.name: getattr(kernel(), field.name) for field in dataclasses.fields(kernel())}
    start = {"mu": jnp.full(2, 4.4), "log_tau": jnp.ones(2), "theta": jnp.zeros((2, 8))}
    injected = lost = 0
    for _ in range(count):
        key = jax.random.key(generator.randrange(2**32))

        def draw(kind, key=key):
            arguments = key, kind(**fields), start, DRAWS
            return pmc.sample(*arguments, num_chains=2, solver="sequential", progress_bar=False)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            spoilt = draw(NanMomentum)
        sound = draw(Refusing)
        met = int(spoilt.info.is_divergent.sum() - sound.info.is_divergent.sum())
        told = any(w.category is pmc.DivergenceWarning for w in caught)
        equal = jax.tree.map(np.array_equal, spoilt.position, sound.position)
        injected += met
        lost += not (told and met > 0 and all(jax.tree.leaves(equal)))
    return Outcome("NaN at a random step", injected, count, lost, "nothing: that step is rejected")


FAULTS = {
    "nan": nan_at_random,
    "kill": kill_at_random,
    "interrupt": interrupt_at_random,
    "limit": limit_files,
    "disk": fill_disk,
    "truncated": damage_chunks("chunk truncated", truncate),
    "flipped": damage_chunks("one bit of a chunk flipped", flip),
    "deleted": damage_chunks("chunk deleted", lambda content, generator: None),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how often to kill a process")
    parser.add_argument("--only", choices=FAULTS, help="one kind of fault")
    parser.add_argument("--seed", type=int, default=0, help="of the times and places")
    parser.add_argument("--worker", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--limit-after", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.limit_after)
        return
    generator = random.Random(options.seed)
    print(
        f"{time.strftime('%Y-%m-%d')}, parallel_mcmc {pmc.__version__}, jax {jax.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}\n"
    )
    print(f"| fault | injected | runs, of {SEGMENTS} segments | draws lost | drawn again |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        reference = run(folder / "reference")
        leaves(reference)
        for name, fault in FAULTS.items():
            if options.only not in (None, name) or (name == "disk" and not may_mount()):
                continue
            count = {"count": options.kills} if name == "kill" else {}
            found = fault(folder, reference, generator, **count)
            lost = "none" if not found.lost else f"in {found.lost} runs"
            cells = [found.fault, found.injected, found.runs, lost, found.drawn_again]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            assert not found.lost, found


if __name__ == "__main__":
    main()
