import json

import jax
import numpy as np
import pytest

from parallel_mcmc.store.keys import decode, encode


@pytest.mark.parametrize(
    "key", [jax.random.key(7), jax.random.key(7, impl="rbg"), jax.random.PRNGKey(7)], ids=str
)
def test_round_trip_through_json(key):
    back = decode(json.loads(json.dumps(encode(key))))
    assert back.dtype == key.dtype
    np.testing.assert_array_equal(jax.random.bits(back, 5), jax.random.bits(key, 5))
