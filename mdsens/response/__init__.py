"""Linear response of a relaxed state: its Hessian, the null space of it, and certified solves."""

from mdsens.response.border import Border
from mdsens.response.bordered import bordered
from mdsens.response.build import linear_response, response_at
from mdsens.response.forward import Forward, forward_response
from mdsens.response.linear import LinearResponse
from mdsens.response.null_space import known_zero_modes

__all__ = [
    "Border",
    "Forward",
    "LinearResponse",
    "bordered",
    "forward_response",
    "known_zero_modes",
    "linear_response",
    "response_at",
]
