"""BlackJAX's inference loop and warmup, with the chain solved in parallel."""

from parallel_mcmc.blackjax.adaptation import window_adaptation
from parallel_mcmc.blackjax.inference import NotParallelWarning, run_inference_algorithm

__all__ = ["NotParallelWarning", "run_inference_algorithm", "window_adaptation"]
