"""Run NumPyro's own tests of MCMC with the classes of this package in their place.

python scripts/run_numpyro_tests.py PATH [--all-hmc] [PYTEST OPTION ...]

PATH is NumPyro's test/infer/test_mcmc.py, in a checkout of its repository. The classes MCMC and HMC
of ``numpyro.infer`` are replaced by those of ``parallel_mcmc.numpyro``; with ``--all-hmc`` so is
NUTS, by HMC with NUTS's arguments, which asks more of ours than NumPyro does. The rest of the
options go to pytest, such as ``-k "HMC"``.
"""

import sys

import numpyro.infer
import pytest

import parallel_mcmc.numpyro

FOREIGN_KERNEL = "ignore:.* is not a kernel of parallel_mcmc.numpyro:UserWarning"


class HMCForNUTS(parallel_mcmc.numpyro.HMC):
    """HMC that takes the arguments of NUTS, a maximal depth of its trees among them."""

    def __init__(self, *args, max_tree_depth=10, **kwargs):
        super().__init__(*args, **kwargs)


def main(path: str, *options: str) -> int:
    numpyro.infer.MCMC = parallel_mcmc.numpyro.MCMC
    numpyro.infer.HMC = parallel_mcmc.numpyro.HMC
    if "--all-hmc" in options:
        numpyro.infer.NUTS = HMCForNUTS
    arguments = [option for option in options if option != "--all-hmc"]
    # Without this project's settings of pytest, whose tests these are not.
    plain = ["-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider", "-n", "0"]
    return pytest.main([path, *plain, "-W", FOREIGN_KERNEL, *arguments])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
