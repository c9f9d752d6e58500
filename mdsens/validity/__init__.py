"""How far a derivative reaches: predictions along a parameter, and the step at which the first contact changes."""

from mdsens.validity.changes import ContactChange, ContactChanges, contact_changes
from mdsens.validity.prediction import Prediction, predict, predict_at_pressure
from mdsens.validity.stepping import (
    Comparison,
    Follower,
    ObservedChange,
    compare,
    follower,
    follower_at_pressure,
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
    "follower_at_pressure",
    "observed_change",
    "predict",
    "predict_at_pressure",
    "steps_around",
]
