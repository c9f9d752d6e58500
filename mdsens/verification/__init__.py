"""Witnesses of a sensitivity: differences of re-relaxed states, scale identities, and a dense reference answer."""

from mdsens.verification.dense import dense_reference
from mdsens.verification.differences import Difference, compare_with_differences, step_size
from mdsens.verification.identities import ScaleIdentity, scale_identities

__all__ = [
    "Difference",
    "ScaleIdentity",
    "compare_with_differences",
    "dense_reference",
    "scale_identities",
    "step_size",
]
