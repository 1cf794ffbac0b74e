"""What a program is made of, read from its jaxpr."""

import jax


def equations_of(function, *args):
    """Yield all equations of a function, those within loops and calls as well."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            yield equation
            for parameter in jax.tree.leaves(tuple(equation.params.values()), is_leaf=is_jaxpr):
                if is_jaxpr(parameter):
                    yield from walk(getattr(parameter, "jaxpr", parameter))

    def is_jaxpr(value):
        return hasattr(getattr(value, "jaxpr", value), "eqns")

    return walk(jax.make_jaxpr(function)(*args).jaxpr)


def precisions(function, *args):
    """Return the precision of every product of matrices."""
    return {
        str(equation.params["precision"])
        for equation in equations_of(function, *args)
        if equation.primitive.name == "dot_general"
    }


def scans(function, *args):
    """Return the lengths of all loops."""
    return [
        equation.params["length"]
        for equation in equations_of(function, *args)
        if equation.primitive.name == "scan"
    ]
