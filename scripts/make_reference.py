"""Write the reference posteriors in tests/data: long NumPyro NUTS runs in double precision.

python scripts/make_reference.py
"""

import datetime
import json
import pathlib
import platform

import arviz as az
import jax
import numpy as np
import numpyro
from numpyro.infer import MCMC, NUTS

from parallel_mcmc.data import load_eight_schools, load_german_credit
from parallel_mcmc.models import eight_schools, german_credit

OUTPUT = pathlib.Path(__file__).parents[1] / "tests" / "data"
NUM_CHAINS = 4
STATISTICS = ("mean", "sd", "mcse_mean", "ess_bulk", "r_hat")


def summarise(mcmc: MCMC) -> dict[str, dict[str, list[float] | float]]:
    """Return each statistic of each variable, in the variable's shape."""
    posterior = az.from_numpyro(mcmc).posterior
    functions = {
        "mean": lambda x: x.mean(("chain", "draw")),
        "sd": lambda x: x.std(("chain", "draw"), ddof=1),
        "mcse_mean": lambda x: az.mcse(x, method="mean")[x.name],
        "ess_bulk": lambda x: az.ess(x, method="bulk")[x.name],
        "r_hat": lambda x: az.rhat(x)[x.name],
    }
    return {
        str(name): {
            statistic: np.asarray(functions[statistic](variable)).round(8).tolist()
            for statistic in STATISTICS
        }
        for name, variable in posterior.items()
    }


def run(name, model, data, *, num_samples, num_warmup, target_accept_prob, seed):
    kernel = NUTS(model, target_accept_prob=target_accept_prob)
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=NUM_CHAINS,
        progress_bar=False,
    )
    mcmc.run(jax.random.key(seed), **data)
    result = {
        "model": f"parallel_mcmc.models.{model.__name__}",
        "sampler": {
            "kernel": "numpyro.infer.NUTS",
            "num_chains": NUM_CHAINS,
            "num_warmup": num_warmup,
            "num_samples": num_samples,
            "target_accept_prob": target_accept_prob,
            "seed": seed,
            "divergences": int(mcmc.get_extra_fields()["diverging"].sum()),
        },
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "numpyro": numpyro.__version__,
            "arviz": az.__version__,
        },
        "date": datetime.date.today().isoformat(),
        "variables": summarise(mcmc),
    }
    (OUTPUT / f"{name}_nuts.json").write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    numpyro.set_host_device_count(NUM_CHAINS)
    jax.config.update("jax_enable_x64", True)
    X, y, _ = load_german_credit()
    run(
        "german_credit",
        german_credit,
        {"X": X, "y": y},
        num_samples=10_000,
        num_warmup=1_000,
        target_accept_prob=0.8,
        seed=0,
    )
    y, sigma = load_eight_schools()
    run(
        "eight_schools",
        eight_schools,
        {"sigma": sigma, "y": y},
        num_samples=50_000,
        num_warmup=2_000,
        target_accept_prob=0.99,
        seed=1,
    )


if __name__ == "__main__":
    main()
