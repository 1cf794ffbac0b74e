import importlib.metadata
import importlib.resources
import subprocess
import sys

import parallel_mcmc


def test_version_is_the_installed_one():
    assert importlib.metadata.version("parallel_mcmc") == parallel_mcmc.__version__


def test_core_imports_no_adapter_dependency():
    program = (
        "import sys, parallel_mcmc\n"
        "extra = {'numpyro', 'blackjax', 'arviz', 'matplotlib', 'xarray', 'zarr'}\n"
        "print(*extra & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == []


def test_data_and_type_marker_are_shipped():
    package = importlib.resources.files("parallel_mcmc")
    for name in ["py.typed", "data/german_credit.csv"]:
        assert package.joinpath(name).is_file(), name
