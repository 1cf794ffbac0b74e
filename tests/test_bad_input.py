"""Bad values in every public argument give an exception that names the argument.

The tables below hold a bad case, or more, for every argument of every public function and class;
the first test walks the public signatures and fails where one is missing.
"""

import inspect

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import parallel_mcmc as pmc
import parallel_mcmc.blackjax
import parallel_mcmc.numpyro
from parallel_mcmc.arviz import to_arviz
from parallel_mcmc.warmup import Laplace, window_adaptation

# What the package makes and users read: nothing to check.
RESULTS = {"Choice", "LyapunovEstimate", "Report", "Samples", "Solution"}
CALLED = {
    name: getattr(module, name)
    for module in (pmc, parallel_mcmc.blackjax, parallel_mcmc.numpyro)
    for name in module.__all__
    if name != "window_adaptation"
} | {
    "to_arviz": to_arviz,
    "blackjax.window_adaptation": parallel_mcmc.blackjax.window_adaptation,
    "warmup.window_adaptation": window_adaptation,
}
CALLED = {
    name: value
    for name, value in CALLED.items()
    if name not in RESULTS and not (isinstance(value, type) and issubclass(value, Exception))
}


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


def step(x, u):
    return 0.5 * x + u


def update(x, z):
    return 0.5 * x + z


def noise(key):
    return (jax.random.normal(key, (2,)),)


def model():
    numpyro.sample("x", dist.Normal())


X, KEY, INPUTS = np.zeros(2, np.float32), jax.random.PRNGKey(0), np.ones((30, 2), np.float32)
HMC = blackjax.hmc(logdensity, 0.3, np.ones(2, np.float32), 3)
SAMPLER = {"model": model}

# Right arguments, by name: a case changes some of them.
RIGHT = {
    "rmh": {"logdensity_fn": logdensity, "step_size": 0.3},
    "ula": {"logdensity_fn": logdensity, "step_size": 0.3},
    "mala": {"logdensity_fn": logdensity, "step_size": 0.3},
    "barker": {"logdensity_fn": logdensity, "step_size": 0.3},
    "underdamped_langevin": {"logdensity_fn": logdensity, "step_size": 0.3},
    "mclmc": {"logdensity_fn": logdensity, "L": 1.0, "step_size": 0.3},
    "hmc": {
        "logdensity_fn": logdensity,
        "step_size": 0.3,
        "inverse_mass_matrix": None,
        "num_integration_steps": 3,
    },
    "adjusted_mclmc": {
        "logdensity_fn": logdensity,
        "step_size": 0.3,
        "inverse_mass_matrix": None,
        "num_integration_steps": 3,
    },
    "UniformSteps": {"low": 1, "high": 3},
    "cycle": {"kernels": [pmc.rmh(logdensity, 0.3)]},
    "gibbs": {"conditionals": [update], "draw_noise": noise},
    "FixedCap": {"max_norm": 1.0},
    "sample": {
        "key": KEY,
        "kernel": pmc.rmh(logdensity, 0.3),
        "initial_position": X,
        "num_samples": 5,
        "progress_bar": False,
    },
    "diagnose": {
        "kernel": pmc.rmh(logdensity, 0.3),
        "initial_position": X,
        "key": KEY,
        "num_samples": 20,
    },
    "solve": {"step": step, "initial_state": X, "inputs": INPUTS},
    "lyapunov_exponent": {"step": step, "initial_state": X, "inputs": INPUTS},
    "run_inference_algorithm": {
        "rng_key": KEY,
        "inference_algorithm": HMC,
        "num_steps": 5,
        "initial_position": X,
    },
    "blackjax.window_adaptation": {"algorithm": blackjax.hmc, "logdensity_fn": logdensity},
    "warmup.window_adaptation": {
        "key": KEY,
        "kernel": pmc.rmh(logdensity, 0.3),
        "initial_position": X,
        "num_steps": 5,
    },
    "HMC": SAMPLER,
    "MALA": SAMPLER,
    "RandomWalk": SAMPLER,
    "MCMC": {"sampler": parallel_mcmc.numpyro.MALA(model), "num_warmup": 0, "num_samples": 5},
}

NOT_POSITIVE = [
    (value, ValueError, "{} must be") for value in (0.0, -1.0, np.nan, np.inf, "1", True, None)
]
NOT_COUNT = [(value, ValueError, "{} must be") for value in (0, -1, 2.5, "3", True)]
NOT_FLAG = [(value, TypeError, "{} must be True or False") for value in ("no", 1, None)]
NOT_CALLABLE = [(value, TypeError, "{} must be callable") for value in (3, "f")]
NOT_KEY = [(value, TypeError, "{} must be a key") for value in (0, np.zeros(2), None)]
NOT_MAPPING = [(value, TypeError, "{} must be a dictionary") for value in (3, [1], "a")]
NOT_METRIC = [
    ("diag", TypeError, "inverse_mass_matrix must be an array"),
    (-np.ones(2), ValueError, "inverse_mass_matrix must be positive"),
    (np.array([1.0, np.nan]), ValueError, "inverse_mass_matrix must be positive and finite"),
    (np.ones((2, 3)), ValueError, r"inverse_mass_matrix must have shape \(D,\) or \(D, D\)"),
    (np.array([[1.0, 2.0], [2.0, 1.0]]), ValueError, "positive definite"),
    (np.array([[1.0, 0.5], [0.0, 1.0]]), ValueError, "must be symmetric"),
]
NOT_GATE = [(value, TypeError, "gate must be pmc.HardGate") for value in ("soft", pmc.HardGate)]
KERNEL = {
    "logdensity_fn": NOT_CALLABLE,
    "step_size": NOT_POSITIVE,
    "inverse_mass_matrix": NOT_METRIC,
}
METROPOLIS = KERNEL | {"gate": NOT_GATE}
PROBES = [(value, ValueError, "probes must be .*a positive integer") for value in (0, 1.5, True)]
NO_LENGTH = "inputs must have leaves with one common leading axis"
SWEEPS = [(value, ValueError, "sweeps must be") for value in (-1, 1.5, True)]
SEED = [(value, ValueError, "seed must be an integer") for value in (1.5, "a", None)]
POSITION = [
    ("a", TypeError, "initial_position must be an array or a number"),
    (None, ValueError, "initial_position must be a pytree of floating-point arrays"),
    (np.array([1, 2]), ValueError, "initial_position must be a pytree of floating-point arrays"),
    (np.array([1.0, np.nan]), ValueError, "initial_position must be finite"),
]
NOT_KERNEL = [(v, TypeError, "kernel must be a kernel such as") for v in ("hmc", pmc.hmc, HMC)]
SOLVER = [(value, ValueError, "solver must be") for value in ("fast", 3, pmc.Newton)]
STATE = [
    ("a", TypeError, "initial_state must be an array or a number"),
    (np.array([1, 2]), ValueError, "initial_state must have a floating-point leaf"),
    (np.array([1.0, np.nan], np.float32), ValueError, "initial_state must be finite"),
    (np.zeros(3, np.float32), ValueError, "step does not accept initial_state, shapes"),
]
STEP = [
    *NOT_CALLABLE,
    (lambda x, u: (x, u), ValueError, "the value of step must have the structure of"),
    (lambda x, u: x[:1], ValueError, "the value of step must have the shape and dtype of"),
]
NUMPYRO = {
    "model": [
        (3, TypeError, "model must be callable"),
        (None, ValueError, "exactly one of model and"),
    ],
    "potential_fn": [(logdensity, ValueError, "exactly one of model and potential_fn")],
    "step_size": NOT_POSITIVE,
    "inverse_mass_matrix": [
        *NOT_METRIC,
        ({"x": np.ones(1)}, ValueError, "inverse_mass_matrix must be an array, or a dict"),
    ],
    "adapt_step_size": NOT_FLAG,
    "adapt_mass_matrix": NOT_FLAG,
    "dense_mass": [(v, ValueError, "dense_mass must be True, False or") for v in ("no", ["x"], 1)],
    "target_accept_prob": [
        *NOT_POSITIVE,
        (1.0, ValueError, "target_accept_prob must be less than 1"),
    ],
    "init_strategy": NOT_CALLABLE,
    "find_heuristic_step_size": NOT_FLAG,
    "forward_mode_differentiation": NOT_FLAG,
    "regularize_mass_matrix": NOT_FLAG,
}

# By name and argument: bad values, and what is raised.


def mesh_of(*names):
    """Return a mesh of one device."""
    return jax.sharding.Mesh(np.reshape(jax.devices()[:1], (1,) * len(names)), names)


MESH = [
    (8, TypeError, "mesh must be a jax.sharding.Mesh"),
    (mesh_of("x"), ValueError, 'mesh must have an axis "chain" or "time", or both'),
]
CASES = {
    "rmh": METROPOLIS,
    "mala": METROPOLIS,
    "barker": METROPOLIS,
    "ula": KERNEL,
    "underdamped_langevin": KERNEL | {"friction": NOT_POSITIVE},
    "mclmc": KERNEL | {"L": NOT_POSITIVE},
    "adjusted_mclmc": METROPOLIS | {"num_integration_steps": NOT_COUNT},
    "hmc": METROPOLIS
    | {
        "num_integration_steps": NOT_COUNT,
        "integrator": [(v, TypeError, "integrator must be") for v in ("leapfrog", pmc.Leapfrog)],
    },
    "UniformSteps": {
        "low": [*NOT_COUNT, (4, ValueError, "high must be at least low = 4")],
        "high": NOT_COUNT,
    },
    "SmoothGate": {"temperature": NOT_POSITIVE},
    "cycle": {
        "kernels": [
            (3, TypeError, "kernels must be a list or tuple"),
            ([], ValueError, "kernels must hold at least one"),
            ([logdensity], TypeError, r"kernels\[0\] must be a kernel"),
        ]
    },
    "gibbs": {
        "conditionals": [
            (update, TypeError, "conditionals must be a list or tuple"),
            ([], ValueError, "conditionals must hold at least one"),
            ([3], TypeError, r"conditionals\[0\] must be callable"),
        ],
        "draw_noise": NOT_CALLABLE,
    },
    "ParallelLeapfrog": {
        "method": [(v, TypeError, "method must be a Newton method") for v in ("deer", pmc.Newton)],
        "max_iterations": NOT_COUNT,
        "tolerance": NOT_POSITIVE[:-1],
    },
    # Methods.
    "Newton": {
        "jacobian": [
            (v, TypeError, "jacobian must be a Jacobian model") for v in ("dense", pmc.Dense)
        ],
        "max_norm": [
            ("1", TypeError, "max_norm must be a number, None or a cap"),
            (pmc.LearnedCap, TypeError, "max_norm must be a number, None or a cap"),
            (-1.0, ValueError, "max_norm must be positive"),
            (True, ValueError, "max_norm must be a positive number"),
        ],
        "damping": [*NOT_POSITIVE, (1.5, ValueError, "damping must be in")],
        "radius": NOT_POSITIVE[:-1],
        "trust_region": [(v, TypeError, "trust_region must be None or") for v in (1.0, "elk")],
        "stride": NOT_COUNT,
    },
    "BlockDiagonal": {"probes": PROBES, "seed": SEED},
    "Diagonal": {
        "probes": PROBES,
        "seed": SEED,
        "sweeps": SWEEPS,
        "redraw_every": [
            (value, ValueError, "redraw_every must be a positive integer") for value in (0, 1.5)
        ],
    },
    "Surrogate": {"model": NOT_CALLABLE},
    "FixedCap": {"max_norm": [case for case in NOT_POSITIVE if case[0] is not np.inf]},
    "LearnedCap": {
        "start": [*NOT_POSITIVE, (2000.0, ValueError, "start must be at most 1000")],
        "grow": [*NOT_POSITIVE, (0.5, ValueError, "grow must be at least 1")],
        "good": [*NOT_POSITIVE, (0.7, ValueError, "good must be at most 0.6")],
        "shrink": [*NOT_POSITIVE, (1.5, ValueError, "shrink must be at most 1")],
        "bad": [*NOT_POSITIVE, (0.01, ValueError, "good must be at most 0.01")],
        "smallest": [*NOT_POSITIVE, (2.0, ValueError, "smallest must be at most 1")],
        "largest": [*NOT_POSITIVE, (0.5, ValueError, "start must be at most 0.5")],
    },
    "LevenbergMarquardt": {"weight": NOT_POSITIVE},
    "Shooting": {"lanes": NOT_COUNT},
    "elk": {"weight": NOT_POSITIVE},
    "quasi_elk": {"weight": NOT_POSITIVE, "probes": PROBES},
    "quasi_deer": {"probes": PROBES, "sweeps": SWEEPS},
    # Entry functions.
    "sample": {
        "key": NOT_KEY,
        "kernel": NOT_KERNEL,
        "initial_position": POSITION,
        "num_samples": NOT_COUNT,
        "num_chains": [*NOT_COUNT, (3, ValueError, "initial_position must have a leading axis of")],
        "solver": SOLVER,
        "window": [case for case in NOT_COUNT if case[0] is not None],
        "progress_bar": NOT_FLAG,
        "checkpoint": [(3, TypeError, "checkpoint must be a path")],
        "checkpoint_every": [(5, ValueError, "checkpoint_every must be left out without")],
        "mesh": MESH,
    },
    "diagnose": {
        "kernel": NOT_KERNEL,
        "initial_position": POSITION,
        "key": NOT_KEY,
        "num_samples": [*NOT_COUNT, (19, ValueError, "num_samples must be at least 20, got 19")],
        "window": NOT_COUNT,
    },
    "resume": {
        "path": [
            (3, TypeError, "path must be a path"),
            ("nowhere", ValueError, "checkpoint"),
        ],
        "kernel": NOT_KERNEL,
        "initial_position": [
            (np.zeros(3, np.float32), pmc.CheckpointMismatchError, "initial_position"),
        ],
        "solver": SOLVER,
        "progress_bar": NOT_FLAG,
        "accept_environment": NOT_FLAG,
        "mesh": [*MESH, (mesh_of("chain"), pmc.CheckpointMismatchError, "mesh: absent in the")],
    },
    "solve": {
        "step": STEP,
        "initial_state": STATE,
        "inputs": [
            ("a", TypeError, "inputs must be an array or a number"),
            (None, ValueError, f"{NO_LENGTH} of at least 1, got shapes"),
            (np.ones((0, 2)), ValueError, f"{NO_LENGTH} of at least 1, got shapes"),
            ((np.ones(3), np.ones(4)), ValueError, "inputs must have leaves with one common"),
        ],
        "method": [
            ("deer", TypeError, "method must be a Newton method"),
            (pmc.Newton(pmc.Surrogate()), ValueError, "method: Surrogate.. needs an analytic"),
            (
                pmc.Newton(pmc.Surrogate(lambda *_: jnp.ones(5))),
                ValueError,
                "method: the model of Surrogate must return a scalar",
            ),
        ],
        "window": NOT_COUNT,
        "tolerance": NOT_POSITIVE[1:-1],  # 0 is the exact mode
        "max_iterations": NOT_COUNT,
        "initial_guess": [
            ("a", TypeError, "initial_guess must be an array or a number"),
            (INPUTS[:3], ValueError, "initial_guess must have the shape and dtype of 30 states"),
            (INPUTS * np.float32(np.nan), ValueError, "initial_guess must be finite"),
        ],
        "mesh": [
            (8, TypeError, "mesh must be a jax.sharding.Mesh"),
            (mesh_of("chain"), ValueError, "mesh must have an axis 'time', got axes"),
        ],
        "scale": [
            (-1.0, ValueError, "scale must be positive"),
            ("a", TypeError, "scale must be an array or a number"),
            (np.ones(3), ValueError, "scale must be a number, or like initial_state"),
            (np.array([1.0, np.nan]), ValueError, "scale must be positive and finite"),
        ],
    },
    "lyapunov_exponent": {
        "step": STEP,
        "initial_state": STATE,
        "inputs": [
            ("a", TypeError, "inputs must be an array or a number"),
            (None, ValueError, "inputs must have leaves with one common leading axis of at least"),
            (INPUTS[:3], ValueError, "inputs must have leaves with one common leading axis of at"),
        ],
        "states": [
            ("a", TypeError, "states must be an array or a number"),
            (INPUTS[:3], ValueError, "states must have the shape and dtype of 30 states"),
            (INPUTS * np.float32(np.nan), ValueError, "states must be finite"),
        ],
    },
    "verify": {"solution": [(v, TypeError, "solution must be a Solution") for v in (3, None)]},
    # Adapters.
    "run_inference_algorithm": {
        "rng_key": NOT_KEY,
        "inference_algorithm": [
            (v, TypeError, "inference_algorithm must be a BlackJAX") for v in (3, blackjax.hmc)
        ],
        "num_steps": [(v, ValueError, "num_steps must be") for v in (-1, 2.5, "3", True)],
        "initial_state": [(X, ValueError, "exactly one of initial_state and initial_position")],
        "initial_position": [
            ("a", TypeError, "initial_position must be an array or a number"),
            (None, ValueError, "exactly one of initial_state and initial_position"),
        ],
        "transform": NOT_CALLABLE,
        "progress_bar": NOT_FLAG,
        "solver": SOLVER,
        "window": NOT_COUNT,
    },
    "blackjax.window_adaptation": {
        "algorithm": [(v, TypeError, "algorithm must be a BlackJAX") for v in (3, pmc.hmc)],
        "logdensity_fn": NOT_CALLABLE,
        # These are BlackJAX's own: test_arguments_of_blackjax.
        "arguments": [],
        "options": [],
    },
    "warmup.window_adaptation": {
        "key": NOT_KEY,
        "kernel": [
            (3, TypeError, "kernel must be a dataclass with the fields step_size and metric"),
            (pmc.ula(logdensity, 0.1), TypeError, "kernel must accept or reject"),
        ],
        "initial_position": POSITION,
        "num_steps": NOT_COUNT,
        "num_chains": [*NOT_COUNT, (3, ValueError, "initial_position must have a leading axis of")],
        "target_acceptance_rate": [
            (v, ValueError, "target_acceptance_rate must be") for v in (0.0, 1.0, "1", None)
        ],
        "dense": NOT_FLAG,
        "structure": [
            (np.ones((2, 2)), ValueError, "structure must be a boolean matrix of shape"),
            (np.ones((3, 3), bool), ValueError, "structure must be a boolean matrix of shape"),
        ],
        "adapt_step_size": NOT_FLAG,
        "adapt_mass_matrix": NOT_FLAG,
        "find_step_size": NOT_FLAG,
        "regularise": NOT_FLAG,
        "keep_draws": NOT_FLAG,
        "progress_bar": NOT_FLAG,
        "start": [
            (value, TypeError, "start must be None, or such as Laplace.. or Pathfinder")
            for value in ("laplace", 3, Laplace)
        ],
        "solver": SOLVER,
        "window": [case for case in NOT_COUNT if case[0] is not None],
    },
    "HMC": NUMPYRO
    | {
        "kinetic_fn": [(logdensity, ValueError, "kinetic_fn must be None")],
        "num_steps": NOT_COUNT,
        "trajectory_length": NOT_POSITIVE[:-1],
    },
    "MALA": NUMPYRO,
    "RandomWalk": NUMPYRO,
    "MCMC": {
        "sampler": [(v, TypeError, "sampler must be an MCMC kernel") for v in ("hmc", model)],
        "num_warmup": [(v, ValueError, "num_warmup must be") for v in (-1, 2.5, "3", True)],
        "num_samples": NOT_COUNT,
        "num_chains": NOT_COUNT,
        "thinning": [*NOT_COUNT, (6, ValueError, "thinning must be at most num_samples = 5")],
        "postprocess_fn": NOT_CALLABLE,
        "chain_method": [(v, ValueError, "chain_method must be one of") for v in ("fast", 3)],
        "progress_bar": NOT_FLAG,
        "progress_rate": NOT_COUNT,
        "jit_model_args": NOT_FLAG,
        "solver": SOLVER,
        "window": NOT_COUNT,
    },
    "to_arviz": {
        "samples": [
            ({"x": X}, TypeError, "samples must be those of parallel_mcmc.sample"),
            ((X, X), TypeError, "samples must be a pair of BlackJAX's states and infos"),
        ],
        "position": [
            ({"a": np.zeros((3, 3))}, ValueError, r"position must have the leading axes \(1, 20\)"),
            ("a", ValueError, r"position must have the leading axes \(1, 20\)"),
        ],
        "coords": NOT_MAPPING,
        "dims": [
            *NOT_MAPPING,
            ({"z": ["place"]}, ValueError, "dims must be of variables of the data, got 'z'"),
            ({"x": ["a", "b"]}, ValueError, r"dims\['x'\] must name at most 1 dimensions"),
        ],
        "log_likelihood": [
            *NOT_MAPPING,
            (True, ValueError, "log_likelihood must be a dictionary of arrays"),
            ({"y": np.zeros(3)}, ValueError, "log_likelihood must have the leading axes"),
        ],
        "prior": [
            *NOT_MAPPING,
            ({"y": 1.0}, ValueError, "prior must have arrays with one leading axis"),
        ],
        "posterior_predictive": [
            *NOT_MAPPING,
            ({"y": np.zeros(3)}, ValueError, "posterior_predictive must have the leading axes"),
        ],
        "predictions": [
            *NOT_MAPPING,
            ({"y": np.zeros(3)}, ValueError, "predictions must have the leading axes"),
        ],
        "observed_data": NOT_MAPPING,
        "constant_data": NOT_MAPPING,
        "warmup": [(v, TypeError, "warmup must be a WarmupResult") for v in (3, {})],
        # Given by name: test_groups_of_arviz.
        "groups": [],
    },
}


@pytest.fixture(scope="module")
def samples():
    arguments = RIGHT["sample"] | {"num_samples": 20}
    return pmc.sample(**arguments)


@pytest.fixture(scope="module")
def right(samples, tmp_path_factory):
    """Return right arguments, those that have to be made first as well."""
    path = tmp_path_factory.mktemp("checkpoint") / "run"
    pmc.sample(**RIGHT["sample"], checkpoint=path)
    resume = {"path": path, "kernel": RIGHT["sample"]["kernel"], "progress_bar": False}
    return RIGHT | {"to_arviz": {"samples": samples}, "resume": resume}


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_every_argument_has_a_case():
    wanted = {(name, p) for name, function in CALLED.items() for p in parameters(function)}
    present = {(name, argument) for name, table in CASES.items() for argument in table}
    assert present == wanted


def test_what_tables_leave_to_a_test_of_its_own():
    empty = {
        (name, arg) for name, table in CASES.items() for arg, cases in table.items() if not cases
    }
    assert empty == {
        ("blackjax.window_adaptation", "arguments"),
        ("blackjax.window_adaptation", "options"),
        ("to_arviz", "groups"),
    }


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, argument) for name, table in CASES.items() for argument in table],
)
def test_bad_values(name, argument, right):
    for value, error, message in CASES[name][argument]:
        with pytest.raises(error, match=message.format(argument)) as caught:
            CALLED[name](**right.get(name, {}) | {argument: value})
        # Not a subclass, such as JAX's errors of tracing.
        assert caught.type is error, value


@pytest.mark.parametrize("name", [*RIGHT, "resume", "to_arviz"])
def test_right_arguments_are_accepted(name, right):
    """Else a bad case might fail for another reason."""
    CALLED[name](**right[name])


# Arguments that are not of the signature.


def test_arguments_of_blackjax():
    right = RIGHT["blackjax.window_adaptation"]
    with pytest.raises(TypeError, match="window_adaptation.. takes .* positional arguments"):
        CALLED["blackjax.window_adaptation"](*right.values(), *range(20))
    warmup = CALLED["blackjax.window_adaptation"](**right, steps=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'steps'"):
        warmup.run(KEY, X, 20)


@pytest.mark.parametrize(
    ("argument", "cases"),
    [
        ("rng_key", NOT_KEY),
        ("position", [("a", TypeError, "position must be an array or a number")]),
        ("num_steps", NOT_COUNT),
    ],
)
def test_run_of_a_blackjax_warmup(argument, cases):
    warmup = CALLED["blackjax.window_adaptation"](**RIGHT["blackjax.window_adaptation"])
    right = {"rng_key": KEY, "position": X, "num_steps": 20}
    assert parameters(warmup.run) == list(right)
    for value, error, message in cases:
        with pytest.raises(error, match=message.format(argument)):
            warmup.run(**right | {argument: value})


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("a", TypeError, "initial_state must be an array or a number"),
        (X, ValueError, "initial_state must be a state of the algorithm, .* initial_position"),
    ],
)
def test_states_of_blackjax(value, error, message):
    right = RIGHT["run_inference_algorithm"] | {"initial_position": None}
    with pytest.raises(error, match=message):
        CALLED["run_inference_algorithm"](**right | {"initial_state": value})


def test_groups_of_arviz(samples):
    with pytest.raises(TypeError, match="extra must be a dictionary"):
        to_arviz(samples, extra=3)
    with pytest.raises(ValueError, match="groups must not hold posterior"):
        to_arviz(samples, posterior={})


def test_blocks_need_a_state_of_two_halves():
    method = pmc.Newton(pmc.BlockDiagonal())
    with pytest.raises(ValueError, match="BlockDiagonal.. needs a state of two halves"):
        pmc.solve(step, np.zeros(3, np.float32), np.ones((5, 3), np.float32), method=method)
