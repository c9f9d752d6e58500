"""Which response a state gets, and whether it gets one at all."""

from __future__ import annotations

from mdsens.backbone import Network, contact_network, with_contacts
from mdsens.energy import State, forces, max_force
from mdsens.errors import NumericalError
from mdsens.relax import Relaxation
from mdsens.response.dense import dense_response
from mdsens.response.linear import LinearResponse
from mdsens.response.sparse import sparse_response
from mdsens.results import Verdict

STATIONARITY = 1e-6  # epsilon/sigma: the largest force that still counts as a relaxed state


def linear_response(
    relaxation: Relaxation, *, stationarity: float = STATIONARITY, at_any_point: bool = False
) -> LinearResponse:
    """Factor the Hessian of a relaxed state: densely up to 600 unknowns, else sparsely.

    Args:
        relaxation: The relaxed state with its verdict.
        stationarity: Largest force that still counts as relaxed, units of epsilon/sigma.
        at_any_point: Take the state as it is, stationary or not; results are labelled so and are no derivatives of a
            relaxed state. Meant for figures of optimiser iterates.

    Returns:
        The response.

    Raises:
        NumericalError: When the state did not relax, is a saddle, or is unjammed: the verdict's sentence.
    """
    if not at_any_point:
        _refuse(relaxation, stationarity)
    return _factored(relaxation.state, relaxation.network, relaxation.max_force, at_any_point=at_any_point)


def response_at(state: State) -> LinearResponse:
    """Factor the Hessian at any state, stationary or not, labelled ``at_any_point``; pairs must hold all in range."""
    return _factored(state, contact_network(state), float(max_force(forces(state))), at_any_point=True)


def _refuse(relaxation: Relaxation, stationarity: float) -> None:
    if relaxation.verdict in (Verdict.UNJAMMED, Verdict.SADDLE, Verdict.NONFINITE, Verdict.OVERFLOW):
        raise NumericalError(f"no sensitivity: {relaxation.verdict.sentence}")
    unit = relaxation.force_unit
    if not relaxation.max_force <= stationarity * unit:
        raise NumericalError(
            f"no sensitivity: the largest force {relaxation.max_force:.2e} exceeds the stationarity threshold "
            f"{stationarity * unit:.2e}. Relax further (max_steps, max_force), or pass at_any_point=True to label the "
            "result."
        )


def _factored(state: State, network: Network, largest: float, *, at_any_point: bool) -> LinearResponse:
    if not network.backbone.any():
        raise NumericalError(f"no sensitivity: {Verdict.UNJAMMED.sentence}")
    loaded = with_contacts(state, network)
    dense = None if at_any_point else dense_response(loaded, network, largest)
    return dense or sparse_response(loaded, network, largest, at_any_point=at_any_point)
