"""Sensitivities with their certificates, stored completely."""

from __future__ import annotations

import dataclasses
from typing import Any

import h5py
import numpy as np

from mdsens.errors import UserError
from mdsens.io.h5md import TRAJECTORY, read_vectors, sensitivity_names, write_vectors
from mdsens.io.hdf5 import write_attributes
from mdsens.io.reading import Shape, attributes, child, damage, numbers, read_attributes
from mdsens.response.null_space import ZeroModes
from mdsens.sensitivity.certified import Certificate, ObservableSensitivity, PositionSensitivity

_JACOBIAN = "sensitivity/jacobian"
_GAUGE = "minimum norm: centre of mass of the backbone fixed, rattlers fixed"
_PREFIX = "certificate_"
# kind of every attribute of a certificate, and whether there is one per parameter
_STORED: dict[str, tuple[str, bool]] = {
    **{_PREFIX + name: ("f", True) for name in ("residual", "error", "relative_error", "bound")},
    **{
        _PREFIX + name: ("f", False)
        for name in ("max_force", "smallest_eigenvalue", "largest_eigenvalue", "stress_error", "smallest_stiffness")
    },
    **{_PREFIX + name: ("b", False) for name in ("one_sided", "at_any_point")},
    **{f"{_PREFIX}zero_modes_{field.name}": ("i", False) for field in dataclasses.fields(ZeroModes)},
    _PREFIX + "method": ("U", False),
}


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
    n, node = shape[0], file[_JACOBIAN]
    found = _certified(node, {"names": ("U", (None,)), "gauge": ("U", ()), "rattlers": ("b", (n,))})
    if found["names"] != sensitivity_names(found["parameters"]):
        raise damage(node, "@names", "not those of its parameters")
    values = [read_vectors(file, name, n) for name in found["names"]]
    return PositionSensitivity(
        **_read_parameters(found),
        values=np.stack(values).reshape(-1, *shape) if values else np.zeros((0, *shape)),
        certificate=_read_certificate(found),
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
    groups = [node for node in child(file, "sensitivity").values() if isinstance(node, h5py.Group)]
    return tuple(_read_observable(group) for group in groups)


def _read_observable(group: Any) -> ObservableSensitivity:
    found = _certified(group, {"value": ("f", ()), "way": ("U", ())})
    parameters = _read_parameters(found)
    unlike = sorted(set(map(_link_name, parameters["paths"])) ^ set(group))
    if unlike:
        raise damage(group, unlike[0], "not one of its parameters, or a missing one")
    derivatives = [numbers(group, _link_name(path), (), finite=True) for path in parameters["paths"]]
    return ObservableSensitivity(
        name=group.name.rsplit("/", 1)[-1],
        value=found["value"],
        **parameters,
        values=np.array(derivatives, dtype=float),
        way=found["way"],
        certificate=_read_certificate(found),
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


def _certified(node: Any, own: dict[str, tuple[str, Shape]]) -> dict[str, Any]:
    """Return the attributes of a sensitivity: its own, its parameters, and its certificate."""
    k = (int(np.size(read_attributes(node).get("parameters", ()))),)
    parameters = {"parameters": ("U", k), "parameter_values": ("f", k), "parameter_units": ("U", k)}
    certificate = {name: (kind, k if many else ()) for name, (kind, many) in _STORED.items()}
    return attributes(node, own | parameters | certificate)


def _read_parameters(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "paths": found["parameters"],
        "parameter_values": found["parameter_values"],
        "units": found["parameter_units"],
    }


def _write_certificate(node: Any, certificate: Certificate) -> None:
    fields = {field.name: getattr(certificate, field.name) for field in dataclasses.fields(certificate)}
    modes = fields.pop("zero_modes")
    fields |= {f"zero_modes_{name}": count for name, count in dataclasses.asdict(modes).items()}
    write_attributes(node, {_PREFIX + name: value for name, value in fields.items()})


def _read_certificate(found: dict[str, Any]) -> Certificate:
    stored = {name.removeprefix(_PREFIX): value for name, value in found.items() if name.startswith(_PREFIX)}
    modes = {
        name.removeprefix("zero_modes_"): stored.pop(name) for name in list(stored) if name.startswith("zero_modes_")
    }
    return Certificate(**stored, zero_modes=ZeroModes(**modes))
