import pytest

import parallel_mcmc as pmc
from parallel_mcmc.choice.outcome import choice_of
from parallel_mcmc.kernels.chain import InLanes, Parallel, Sequential


@pytest.mark.parametrize(
    ("runner", "way"),
    [
        (Sequential(), "sequential"),
        (InLanes(8, 8192), "shooting in 8 lanes, 8,192 draws at a time"),
        (
            Parallel(None, 4096),
            "parallel, 4,096 draws at a time, by the kernel's own model of the Jacobian",
        ),
        (
            Parallel(pmc.deer(), 64),
            "parallel, 64 draws at a time, by the Dense model of the Jacobian",
        ),
    ],
)
def test_a_choice_in_words(runner, way):
    found, choice = choice_of(runner, "it was asked for")
    assert found is runner and choice.way == way
    assert way.startswith(choice.solver)
