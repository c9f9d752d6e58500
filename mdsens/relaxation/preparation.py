"""What is done to a start before it is relaxed: checks, images inside the box, an order in memory, a list of pairs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from mdsens.energy import PairPotential, Potential, State, check_system, max_reach
from mdsens.energy.entries import reordered
from mdsens.errors import UserError
from mdsens.given import shown
from mdsens.neighbors import spatial_order
from mdsens.relaxation.descent import Reach, find_pairs, fitting_grid
from mdsens.relaxation.settings import RelaxationSettings
from mdsens.relaxation.starts import refuse_endless
from mdsens.types import Configuration, PeriodicBox, replaced

_FAR = 100.0  # boxes from the origin: two digits are lost there


def checked_settings(
    potential: Potential, configuration: Configuration, settings: RelaxationSettings | None
) -> RelaxationSettings:
    """Return the settings after refusing arguments of other kinds."""
    check_system(potential, configuration)
    if settings is not None and not isinstance(settings, RelaxationSettings):
        raise UserError(f"settings are {shown(settings)}; they must be RelaxationSettings(max_force=..., ...).")
    potential.check_entries(configuration)
    return settings or RelaxationSettings()


def checked_reach(potential: Potential, configuration: Configuration, settings: RelaxationSettings) -> float:
    """Return the interaction range after refusing cells for which the energy would be wrong, or the list endless."""
    potential.check_cell(configuration)
    longest = max_reach(potential, configuration)
    refuse_endless(configuration, (1 + settings.skin) * longest)
    return longest


def near_the_box(configuration: Configuration) -> Configuration:
    """Return the configuration with images inside the box if a particle lies so far off that its digits are lost."""
    box = configuration.box
    if not isinstance(box, PeriodicBox):
        return configuration
    fractional = np.asarray(configuration.position) @ np.linalg.inv(np.asarray(box.matrix)).T
    # a topology counts images from where particles are
    if np.abs(fractional[:, list(box.periodic)]).max() < _FAR or configuration.topology:
        return configuration
    return replaced(configuration, {"position": box.wrap(configuration.position)})


def memory_order(potential: Potential, configuration: Configuration, longest: float) -> np.ndarray:
    """Return the order in which pair laws are evaluated: neighbours in space lie together in memory."""
    if isinstance(potential, PairPotential):
        return spatial_order(configuration.position, configuration.box, longest)
    return np.arange(configuration.n_particles)


def taken_in_order(state: State, order: np.ndarray) -> State:
    """Return the state with its particles in another order; the pair list is not translated."""
    configuration = state.configuration
    # on the host: JAX's indexing outside compiled code takes a millisecond
    names = ("position", "species", *(["held"] if configuration.held is not None else []))
    changes = {name: jnp.asarray(np.asarray(getattr(configuration, name))[order]) for name in names}
    return replaced(
        state, {"configuration": replaced(configuration, changes), "potential": reordered(state.potential, order)}
    )


def with_list(state: State, longest: float, settings: RelaxationSettings) -> tuple[State, Reach]:
    """Return the state with its pairs listed, and how far."""
    skin = settings.skin * longest
    reach = Reach(longest, skin, fitting_grid(state, state.position, longest, skin))
    pairs, reach = find_pairs(state, state.position, reach, 0)
    return state.with_pairs(pairs), reach
