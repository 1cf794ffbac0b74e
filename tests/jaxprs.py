"""The products of matrices in a program."""

import jax


def precisions(function, *args):
    """Return the precision of every product of matrices, of those within loops as well."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield str(equation.params["precision"])
            for parameter in jax.tree.leaves(tuple(equation.params.values())):
                inner = getattr(parameter, "jaxpr", parameter)
                if hasattr(inner, "eqns"):
                    yield from walk(inner)

    return set(walk(jax.make_jaxpr(function)(*args).jaxpr))
