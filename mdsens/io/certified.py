"""Sensitivities with their certificates, stored completely."""

from __future__ import annotations

import dataclasses
from typing import Any

import h5py
import numpy as np

from mdsens.errors import UserError
from mdsens.io.h5md import TRAJECTORY, read_vectors, sensitivity_names, write_vectors
from mdsens.io.hdf5 import read_attributes, write_attributes
from mdsens.response.null_space import ZeroModes
from mdsens.sensitivity.records import Certificate, ObservableSensitivity, PositionSensitivity

_JACOBIAN = "sensitivity/jacobian"
_GAUGE = "minimum norm: centre of mass of the backbone fixed, rattlers fixed"
_PREFIX = "certificate_"


def no_entries(shape: tuple[int, ...], max_force: float, one_sided: bool) -> PositionSensitivity:
    """Return the sensitivity in no parameter (k = 0) of a state with positions of the given shape."""
    nothing = np.zeros(0)
    modes = ZeroModes(translations=0, rotations=0, rattlers=0, floppy=0)
    certificate = Certificate(
        max_force=max_force,
        residual=nothing,
        error=nothing,
        relative_error=nothing,
        bound=nothing,
        smallest_eigenvalue=float("nan"),
        largest_eigenvalue=float("nan"),
        zero_modes=modes,
        one_sided=one_sided,
        at_any_point=False,
        method="none",
    )
    return PositionSensitivity((), nothing, (), np.zeros((0, *shape)), certificate)


def write_positions(file: Any, sensitivity: PositionSensitivity, backbone: np.ndarray) -> tuple[str, ...]:
    """Store dx/dp: one vector per particle and parameter, and ``/sensitivity/jacobian``, shape (k, n, d), over them.

    Args:
        file: The open file with its trajectory written.
        sensitivity: dx/dp of k parameter entries; with k = 0 nothing is stored.
        backbone: True for particles that are held in place, shape (n,).

    Returns:
        The name of every vector under ``/particles/trajectory``.
    """
    names = sensitivity_names(sensitivity.paths)
    rows = zip(names, sensitivity.paths, sensitivity.parameter_values, sensitivity.units, strict=True)
    for k, (name, path, value, unit) in enumerate(rows):
        attributes = {"parameter": path, "parameter_value": value, "parameter_unit": unit}
        write_vectors(file, name, sensitivity.values[k], attributes)
    if names:
        dataset = _create_jacobian(file, names, sensitivity.values.shape)
        write_attributes(dataset, _parameters(sensitivity) | {"names": names, "gauge": _GAUGE, "rattlers": ~backbone})
        _write_certificate(dataset, sensitivity.certificate)
    return names


def read_positions(file: Any, shape: tuple[int, int]) -> PositionSensitivity | None:
    """Read dx/dp of a state with positions of the given shape, or None when there is none."""
    if _JACOBIAN not in file:
        return None
    attributes = read_attributes(file[_JACOBIAN])
    values = [read_vectors(file, str(name)) for name in attributes["names"]]
    return PositionSensitivity(
        **_read_parameters(attributes),
        values=np.stack(values).reshape(-1, *shape),
        certificate=_read_certificate(attributes),
    )


def write_observable(file: Any, sensitivity: ObservableSensitivity) -> None:
    """Store dO/dp as ``/sensitivity/<observable>/<parameter>``, the certificate as attributes of the group.

    Raises:
        UserError: When the observable's name is not usable in a file.
    """
    if "/" in sensitivity.name or sensitivity.name == "jacobian":
        raise UserError(
            f"an observable cannot be called {sensitivity.name!r}: leave out '/' and do not use 'jacobian'."
        )
    group = file["sensitivity"].create_group(sensitivity.name)
    write_attributes(group, _parameters(sensitivity) | {"value": sensitivity.value, "way": sensitivity.way})
    _write_certificate(group, sensitivity.certificate)
    for path, value in zip(sensitivity.paths, sensitivity.values, strict=True):
        group[_link_name(path)] = value


def read_observables(file: Any) -> tuple[ObservableSensitivity, ...]:
    """Read every dO/dp, in the order of their names."""
    if "sensitivity" not in file:
        return ()
    groups = [node for node in file["sensitivity"].values() if isinstance(node, h5py.Group)]
    return tuple(_read_observable(group) for group in groups)


def _read_observable(group: Any) -> ObservableSensitivity:
    attributes = read_attributes(group)
    parameters = _read_parameters(attributes)
    return ObservableSensitivity(
        name=group.name.rsplit("/", 1)[-1],
        value=attributes["value"],
        **parameters,
        values=np.array([group[_link_name(path)][()] for path in parameters["paths"]], dtype=float),
        way=attributes["way"],
        certificate=_read_certificate(attributes),
    )


def _link_name(path: str) -> str:
    return path.replace("/", "|")  # a slash would open a group


def _create_jacobian(file: Any, names: tuple[str, ...], shape: tuple[int, ...]) -> Any:
    layout = h5py.VirtualLayout(shape=shape, dtype=np.float64)
    for k, name in enumerate(names):
        source = h5py.VirtualSource(".", f"/{TRAJECTORY}/{name}/value", shape=(1, shape[1], 3))
        layout[k] = source[0, :, : shape[2]]
    return file.create_virtual_dataset(_JACOBIAN, layout)


def _parameters(sensitivity: PositionSensitivity | ObservableSensitivity) -> dict[str, Any]:
    return {
        "parameters": sensitivity.paths,
        "parameter_values": sensitivity.parameter_values,
        "parameter_units": sensitivity.units,
    }


def _read_parameters(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        "paths": tuple(map(str, attributes["parameters"])),
        "parameter_values": np.asarray(attributes["parameter_values"]),
        "units": tuple(map(str, attributes["parameter_units"])),
    }


def _write_certificate(node: Any, certificate: Certificate) -> None:
    fields = {field.name: getattr(certificate, field.name) for field in dataclasses.fields(certificate)}
    modes = fields.pop("zero_modes")
    fields |= {f"zero_modes_{name}": count for name, count in dataclasses.asdict(modes).items()}
    write_attributes(node, {_PREFIX + name: value for name, value in fields.items()})


def _read_certificate(attributes: dict[str, Any]) -> Certificate:
    stored = {name.removeprefix(_PREFIX): value for name, value in attributes.items() if name.startswith(_PREFIX)}
    modes = {
        name.removeprefix("zero_modes_"): stored.pop(name) for name in list(stored) if name.startswith("zero_modes_")
    }
    return Certificate(**stored, zero_modes=ZeroModes(**modes))
