"""The roofline model of benchmarks/machine_model.py."""

import pytest
from hlo import Launch, Work
from machine_model import LATENCY, Machine, Rates, duration, measured_cpu, predicted, published

MACHINE = Machine("a device", 1.0, Rates(100.0, 50.0, 10.0, 20.0), 1e9)


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work(), 0),
        (Work(bytes=60), 3),
        (Work(products=200, elementwise=50), 3),
        (Work(products=200, transcendental=10, bytes=20), 3),
        (Work(products=200, transcendental=10, bytes=80), 4),
    ],
)
def test_a_kernel_takes_its_launch_and_the_slower_of_work_and_data(work, seconds):
    assert duration(Launch("fusion", work, 1), MACHINE) == 1 + seconds


def test_kernels_follow_one_another():
    kernels = [Launch("dot", Work(products=100), 3), Launch("copy", Work(bytes=40), 2)]
    assert predicted(kernels, MACHINE) == 3 * 2 + 2 * 3


def test_small_kernels_have_rates_of_their_own():
    machine = MACHINE._replace(cache=40.0, small=Rates(1.0, 1.0, 1.0, 40.0))
    assert duration(Launch("copy", Work(bytes=40), 1), machine) == 2
    assert duration(Launch("copy", Work(bytes=60), 1), machine) == 4


def test_published_figures():
    double, single = (published("NVIDIA A100-SXM4-80GB", double) for double in (True, False))
    assert double is not None and single is not None
    assert double.latency == LATENCY
    assert (double.rates.products, single.rates.products) == (9.7e12, 19.5e12)
    assert double.rates.bytes == single.rates.bytes == pytest.approx(2.039e12)
    assert published("a GPU of another kind", True) is None


def test_a_cpu_is_measured():
    cpu = measured_cpu(repeats=1)
    assert cpu.small is not None
    assert min(cpu.latency, *cpu.rates, *cpu.small) > 0
