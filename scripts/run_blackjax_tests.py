"""Run BlackJAX's own sampling tests with its inference loop and warmup replaced by ours.

    python scripts/run_blackjax_tests.py PATH [--solver auto|parallel|sequential] [pytest options]

PATH is an unpacked source distribution of the installed version of BlackJAX, from PyPI: nothing is
downloaded. Its tests need chex and optax. `blackjax.util.run_inference_algorithm` and
`blackjax.window_adaptation` are replaced before the tests are imported; with `--solver none` they
are left as they are.
"""

import argparse
import pathlib
import re
import sys

import blackjax
import blackjax.util
import pytest

import parallel_mcmc.blackjax as ours

TESTS = ["tests/mcmc/test_sampling.py"]


def check(root):
    """Exit unless ``root`` holds the sources of the installed BlackJAX."""
    missing = [name for name in ["PKG-INFO", *TESTS] if not (root / name).is_file()]
    if missing:
        sys.exit(f"{root} is no unpacked source distribution of BlackJAX: no {missing[0]}")
    version = re.search(r"^Version: (\S+)", (root / "PKG-INFO").read_text(), re.MULTILINE)[1]
    if version != blackjax.__version__:
        sys.exit(f"{root} is BlackJAX {version}, installed is {blackjax.__version__}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=pathlib.Path, help="unpacked source distribution")
    parser.add_argument(
        "--solver", default="auto", choices=["auto", "parallel", "sequential", "none"]
    )
    options, for_pytest = parser.parse_known_args()
    root = options.path.resolve()
    check(root)
    calls = {"run_inference_algorithm": 0, "window_adaptation": 0}

    def run_inference_algorithm(*arguments, **keywords):
        calls["run_inference_algorithm"] += 1
        return ours.run_inference_algorithm(*arguments, **keywords, solver=options.solver)

    def window_adaptation(*arguments, **keywords):
        calls["window_adaptation"] += 1
        return ours.window_adaptation(*arguments, **keywords)

    if options.solver != "none":
        blackjax.util.run_inference_algorithm = run_inference_algorithm
        blackjax.window_adaptation = window_adaptation
    # Their configuration makes errors of warnings. Ours say that a chain was right but slow.
    ignored = [
        "parallel_mcmc.SequentialFallbackWarning",
        "parallel_mcmc.blackjax.NotParallelWarning",
    ]
    code = pytest.main(
        [
            *(str(root / name) for name in TESTS),
            f"--rootdir={root}",
            f"--config-file={root / 'pytest.ini'}",
            *(f"-W ignore::{name}" for name in ignored),
            *for_pytest,
        ]
    )
    print(", ".join(f"{count} calls of {name}" for name, count in calls.items()))
    return code


if __name__ == "__main__":
    sys.exit(main())
