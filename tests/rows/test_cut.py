import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc.rows.cut import plan_of


def test_what_depends_on_the_data_alone_is_made_once():
    design = jnp.asarray(np.random.default_rng(0).normal(size=(40, 3)))

    def logdensity(q):
        return jnp.sum(((design - design.mean(axis=0)) @ q) ** 2)

    plan = plan_of(jax.make_jaxpr(logdensity)(jnp.ones(3)))
    made = {step.primitive.name for step in plan.before}
    assert "sub" in made
    assert [item.step.primitive.name for item in plan.blocks][0] == "dot_general"


def test_no_data_no_plan():
    assert plan_of(jax.make_jaxpr(lambda q: -0.5 * jnp.sum(q**2))(jnp.ones(100_000))) is None
