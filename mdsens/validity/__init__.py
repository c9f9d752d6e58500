"""How far a derivative reaches: predictions along a parameter, and the step at which the first contact changes."""

from mdsens.validity.changes import ContactChange, ContactChanges, contact_changes
from mdsens.validity.prediction import Prediction, predict
from mdsens.validity.stepping import (
    Comparison,
    Follower,
    ObservedChange,
    compare,
    follower,
    observed_change,
    steps_around,
)

__all__ = [
    "Comparison",
    "ContactChange",
    "ContactChanges",
    "Follower",
    "ObservedChange",
    "Prediction",
    "compare",
    "contact_changes",
    "follower",
    "observed_change",
    "predict",
    "steps_around",
]
