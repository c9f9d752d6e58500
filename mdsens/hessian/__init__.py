"""Second derivatives of the energy: the Hessian by pairs, by colours or matrix-free, and the mixed derivatives."""

from mdsens.hessian.matrix import (
    SMALL,
    LinearSolver,
    directional_norm,
    directional_row_sum,
    factorise,
    hessian,
    pair_blocks,
    pair_stiffness,
)

__all__ = [
    "SMALL",
    "LinearSolver",
    "directional_norm",
    "directional_row_sum",
    "factorise",
    "hessian",
    "pair_blocks",
    "pair_stiffness",
]
