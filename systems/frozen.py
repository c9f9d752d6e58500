"""Which particles are held where they start: ``[system] frozen``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from mdsens.config import Section, distinct
from mdsens.errors import UserError
from mdsens.types import Configuration

_AXES = "xyz"
Axis = Literal["x", "y", "z"]


class Frozen(Section):
    """One entry of ``frozen``: some particles, chosen by number, by species or as a layer, and what of them is held.

    A particle is chosen that satisfies every condition given; a list of entries adds up.
    """

    particles: Annotated[tuple[Annotated[int, Field(ge=0)], ...], AfterValidator(distinct)] | None = Field(
        None, description="numbers of particles, from 0"
    )
    species: Annotated[tuple[str, ...], AfterValidator(distinct)] | None = Field(None, description="names of species")
    axis: Axis | None = Field(None, description="axis of a layer")
    below: float | None = Field(None, description="highest coordinate of the layer, units of length")
    above: float | None = Field(None, description="lowest coordinate of the layer, units of length")
    components: Annotated[tuple[Axis, ...], Field(min_length=1), AfterValidator(distinct)] | None = Field(
        None, description="components that are held; all by default"
    )

    @model_validator(mode="after")
    def _check_layer(self) -> Frozen:
        if (self.axis is None) != (self.below is None and self.above is None):
            raise ValueError("a layer needs an axis with below, above or both")
        if self.particles is None and self.species is None and self.axis is None:
            raise ValueError("name particles, species or a layer (axis with below or above)")
        return self


class System(Section):
    """Base of every ``[system]`` section."""

    frozen: tuple[Frozen, ...] = Field(
        (), description='entries such as {species = ["B"]} or {axis = "z", below = 1.5, components = ["z"]}'
    )


def with_frozen(configuration: Configuration, entries: Sequence[Frozen]) -> Configuration:
    """Return the configuration with what the entries choose held in place.

    Raises:
        UserError: When an entry chooses nothing, names what there is not, or nothing is left free.
    """
    if not entries:
        return configuration
    held = np.zeros(configuration.position.shape, bool)
    for k, entry in enumerate(entries):
        chosen = _chosen(configuration, entry, f"system.frozen[{k}]")
        axes = [_axis(configuration, name, f"system.frozen[{k}].components") for name in entry.components or ()]
        held[np.ix_(chosen, np.array(axes or range(configuration.dimension)))] = True
    if held.all():
        raise UserError("system.frozen holds every particle: leave at least one free.")
    return configuration.holding(held)


def _chosen(configuration: Configuration, entry: Frozen, where: str) -> np.ndarray:
    """Return the numbers of the particles that an entry chooses."""
    n, names = configuration.n_particles, configuration.species_names
    chosen = np.ones(n, bool)
    if entry.particles is not None:
        missing = [number for number in entry.particles if number >= n]
        if missing:
            raise UserError(f"{where} names particle {missing[0]}; there are {n}, numbered from 0.")
        chosen &= np.isin(np.arange(n), entry.particles)
    if entry.species is not None:
        unknown = [name for name in entry.species if name not in names]
        if unknown:
            raise UserError(f"{where} names species {unknown[0]!r}; there are {', '.join(names)}.")
        chosen &= np.isin(np.asarray(configuration.species), [names.index(name) for name in entry.species])
    if entry.axis is not None:
        place = np.asarray(configuration.position)[:, _axis(configuration, entry.axis, f"{where}.axis")]
        chosen &= (place <= _or(entry.below, np.inf)) & (place >= _or(entry.above, -np.inf))
    if not chosen.any():
        raise UserError(f"{where} chooses no particle: loosen its conditions, or leave it out.")
    return np.flatnonzero(chosen)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _axis(configuration: Configuration, name: str, where: str) -> int:
    axis = _AXES.index(name)
    if axis >= configuration.dimension:
        raise UserError(f"{where} names {name!r} in {configuration.dimension} dimensions.")
    return axis
