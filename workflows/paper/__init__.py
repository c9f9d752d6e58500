"""``mdsens paper CONFIG.toml``: measure what the paper on modular implicit differentiation claims.

References:
    Blondel et al., Efficient and Modular Implicit Differentiation, NeurIPS 2022, arXiv:2105.15183.
"""

from workflows.paper.run import Config, expected, run

__all__ = ["Config", "expected", "run"]
