import json
from collections import OrderedDict

import jax
import jax.numpy as jnp
import pytest

from parallel_mcmc.store.structure import decode, encode, leaf_types


@pytest.mark.parametrize(
    "tree",
    [
        jnp.zeros((2, 3)),
        {"a": jnp.zeros(2), "b": [jnp.zeros(2, jnp.int32), None], "c": {"d": (jnp.zeros(2),)}},
        (jnp.zeros(1, jnp.float16), [], {}),
    ],
)
def test_round_trip_through_json(tree):
    back = decode(json.loads(json.dumps(encode(tree))))
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert leaf_types(back) == leaf_types(tree)


@pytest.mark.parametrize("tree", [OrderedDict(a=jnp.zeros(2)), {1: jnp.zeros(2)}])
def test_other_nodes_need_an_example(tree):
    code = json.loads(json.dumps(encode(tree)))
    assert code["leaves"] == leaf_types(tree)
    with pytest.raises(LookupError):
        decode(code)
