"""Witnesses of a sensitivity: differences of re-relaxed states, scale identities, and a dense reference answer."""

from mdsens.verification.checks import Check, same
from mdsens.verification.dense import dense_reference
from mdsens.verification.differences import Difference, compare_with_differences, step_size
from mdsens.verification.identities import ScaleIdentity, scale_identities
from mdsens.verification.witnesses import witnesses

__all__ = [
    "Check",
    "Difference",
    "ScaleIdentity",
    "compare_with_differences",
    "dense_reference",
    "same",
    "scale_identities",
    "step_size",
    "witnesses",
]
