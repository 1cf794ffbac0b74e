import jax.numpy as jnp
import numpy as np

from parallel_mcmc.solver import buffers


def test_slices_along_time():
    tree = {"a": jnp.arange(5), "b": jnp.arange(10).reshape(5, 2)}
    part = buffers.section(tree, 1, 3)
    np.testing.assert_array_equal(part["a"], [1, 2, 3])
    np.testing.assert_array_equal(part["b"], [[2, 3], [4, 5], [6, 7]])
    tail = {"a": 10 + jnp.arange(5), "b": 10 + jnp.arange(10).reshape(5, 2)}
    moved = buffers.shifted(tree, tail, 2)
    np.testing.assert_array_equal(moved["a"], [2, 3, 4, 10, 11])
    np.testing.assert_array_equal(moved["b"][-1], [12, 13])
    padded = buffers.padded_by(tree, 2)
    np.testing.assert_array_equal(padded["a"], [0, 1, 2, 3, 4, 4, 4])
    np.testing.assert_array_equal(padded["b"][4:], [[8, 9]] * 3)
    assert buffers.padded_by(tree, 0) is tree
    again = buffers.written(tree, buffers.section(tree, 1, 2), 3)
    np.testing.assert_array_equal(again["a"], [0, 1, 2, 1, 2])


def test_cutting_fills_up_with_the_last_entry():
    leaf = jnp.arange(14).reshape(2, 7)
    parts = buffers.cut(leaf, 3, 3)
    np.testing.assert_array_equal(parts[0], [[0, 1, 2], [3, 4, 5], [6, 6, 6]])
    assert parts.shape == (2, 3, 3)
    np.testing.assert_array_equal(buffers.uncut(parts, 7), leaf)
    assert buffers.cut(jnp.zeros((2, 7, 5)), 4, 2).shape == (2, 4, 2, 5)


def test_parts_of_a_tree_are_joined_again():
    tree = {"a": jnp.arange(7), "b": jnp.arange(14).reshape(7, 2)}
    parts = buffers.in_parts(tree, 3)
    np.testing.assert_array_equal(parts["a"], [[0, 1, 2], [3, 4, 5], [6, 6, 6]])
    assert parts["b"].shape == (3, 3, 2)
    np.testing.assert_array_equal(buffers.joined(parts, 7)["b"], tree["b"])
    np.testing.assert_array_equal(buffers.joined(parts)["a"], [0, 1, 2, 3, 4, 5, 6, 6, 6])
