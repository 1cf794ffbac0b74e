import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import parallel_mcmc as pmc
from parallel_mcmc._tree import (
    STATIC,
    all_finite,
    any_traced,
    as_partial,
    at,
    num_steps,
    part,
    preceding,
    pytree,
    select,
    signature,
)


@pytree
@dataclasses.dataclass(frozen=True)
class Pair:
    left: jax.Array
    name: str = dataclasses.field(default="a", metadata=STATIC)


def test_a_part_that_is_all_is_no_copy():
    tree = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.arange(3)}
    assert part(tree, slice(0, 3)) is tree
    some = part(tree, slice(1, 3))
    np.testing.assert_array_equal(some["a"], [[2, 3], [4, 5]])
    np.testing.assert_array_equal(some["b"], [1, 2])


def test_at_takes_one_entry_of_every_leaf():
    tree = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.arange(3)}
    assert jax.tree.map(lambda leaf: leaf.tolist(), at(tree, 1)) == {"a": [2.0, 3.0], "b": 1}
    assert at(tree, jnp.array(-1))["b"] == 2


def test_signatures_tell_all_but_the_numbers():
    tree = {"a": jnp.zeros(3), "b": 1.0}
    same = signature(tree, Pair(jnp.zeros(2)))
    assert same == signature({"a": jnp.ones(3), "b": 2.0}, Pair(jnp.ones(2)))
    others = [
        {"a": jnp.zeros(4), "b": 1.0},
        {"a": jnp.zeros(3, int), "b": 1.0},
        {"a": jnp.zeros(3), "b": 1},
        {"a": jnp.zeros(3), "c": 1.0},
    ]
    assert all(signature(other, Pair(jnp.zeros(2))) != same for other in others)
    assert signature(tree, Pair(jnp.zeros(2), "c")) != same
    assert signature(jnp.sin) == signature(jnp.sin) != signature(jnp.cos)
    hash(same)


def test_classes_without_fields_have_different_structures():
    assert jax.tree.structure(pmc.Identity()) != jax.tree.structure(pmc.Dense())
    assert jax.tree.structure(pmc.Identity()) == jax.tree.structure(pmc.Identity())


def test_jit_does_not_mix_up_classes_without_fields():
    name = jax.jit(lambda model: jnp.array(type(model) is pmc.Dense))
    assert bool(name(pmc.Dense()))
    assert not bool(name(pmc.Identity()))


@pytest.mark.parametrize(
    "obj", [Pair(jnp.arange(3.0), "b"), pmc.Newton(pmc.Diagonal(3), damping=0.5), pmc.LearnedCap()]
)
def test_round_trip(obj):
    leaves, structure = jax.tree.flatten(obj)
    back = jax.tree.unflatten(structure, leaves)
    assert type(back) is type(obj)
    assert jax.tree.structure(back) == structure
    for ours, theirs in zip(jax.tree.leaves(back), leaves, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_static_fields_are_structure_and_others_are_leaves():
    assert jax.tree.leaves(Pair(1.0, "b")) == [1.0]
    assert jax.tree.structure(Pair(1.0, "a")) != jax.tree.structure(Pair(1.0, "b"))
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(Pair(1.0))]
    assert paths == [".left"]


def test_as_partial_compares_a_function_by_identity():
    bound = jax.tree_util.Partial(jnp.add, 1.0)
    assert as_partial(bound) is bound
    assert jax.tree.structure(as_partial(jnp.sin)) == jax.tree.structure(as_partial(jnp.sin))
    assert jax.tree.structure(as_partial(jnp.sin)) != jax.tree.structure(as_partial(jnp.cos))


def test_select_picks_along_the_leading_axis():
    chosen = select(jnp.array([True, False]), {"a": jnp.ones((2, 3))}, {"a": jnp.zeros((2, 3))})
    np.testing.assert_array_equal(chosen["a"], [[1, 1, 1], [0, 0, 0]])


def test_num_steps_is_the_leading_axis():
    assert num_steps({"a": jnp.zeros((5, 2))}) == 5


def test_any_traced():
    seen = []
    jax.jit(lambda x: seen.append(any_traced({"a": 1.0}, x)) or x)(1.0)
    assert seen == [True]
    assert not any_traced(1.0, jnp.ones(2))


def test_preceding():
    before = preceding({"a": 1.0, "n": 7}, {"a": jnp.array([2.0, 3.0]), "n": jnp.array([8, 9])})
    np.testing.assert_array_equal(before["a"], [1.0, 2.0])
    np.testing.assert_array_equal(before["n"], [7, 8])


def test_finite_means_every_number_of_the_state():
    x = jnp.ones((4, 2, 2)).at[1, 0, 1].set(jnp.nan)
    y = jnp.ones(4).at[2].set(-jnp.inf)
    states = {"n": jnp.arange(4), "x": x, "y": y}
    np.testing.assert_array_equal(jax.vmap(all_finite)(states), [True, False, False, True])
