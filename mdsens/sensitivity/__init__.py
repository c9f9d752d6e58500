"""Forward, adjoint and full sensitivities of relaxed states, with certificates."""

from mdsens.response.null_space import ZeroModes
from mdsens.sensitivity.certified import BoxResponse, Certificate, ObservableSensitivity, PositionSensitivity
from mdsens.sensitivity.differentiable import relaxed_condition, relaxed_configuration
from mdsens.sensitivity.observables import gradient, observable_sensitivities, observable_sensitivity, pull_back
from mdsens.sensitivity.positions import forward, newton_step, position_sensitivity, responses

__all__ = [
    "BoxResponse",
    "Certificate",
    "ObservableSensitivity",
    "PositionSensitivity",
    "ZeroModes",
    "forward",
    "gradient",
    "newton_step",
    "observable_sensitivities",
    "observable_sensitivity",
    "position_sensitivity",
    "pull_back",
    "relaxed_condition",
    "relaxed_configuration",
    "responses",
]
