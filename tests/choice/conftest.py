import pytest
from choosing import chains_of, is_of_lanes

from parallel_mcmc.choice import auto, coupling, cpu, measure


@pytest.fixture
def small_caches_and_no_memory(monkeypatch):
    monkeypatch.setattr(cpu, "SMALL_TRAFFIC", 1e6)
    monkeypatch.setattr(auto, "_remembered", type(auto._remembered)())


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by the seconds of one step, a batched step and a draw in parallel."""

    def setting(one, batch, solved=None):
        calls = []

        def timed(run, *args):
            calls.append((run, *args))
            keys = len(args[-1])
            if run is measure.evaluate_batch:
                return None, batch * keys
            return None, solved * keys

        def clocked(run, steps):
            calls.append((run, steps))
            count = chains_of(run)
            of_lanes = batch(count) if callable(batch) else batch
            each = of_lanes if is_of_lanes(run) else one
            # A call takes a while by itself.
            return run(steps), each * count * steps + 7.0

        monkeypatch.setattr(measure, "timed_apart", timed)
        monkeypatch.setattr(coupling, "clocked", clocked)
        return calls

    return setting
