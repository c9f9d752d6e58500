"""Which deformations of the box are free at constant pressure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from mdsens.energy.strain import strain_basis, voigt_places
from mdsens.errors import UserError

BoxKind = Literal["isotropic", "orthorhombic", "triclinic"]
_AXES = "xyz"


def free_strains(dimension: int, kind: BoxKind, fixed: Sequence[str] = ()) -> np.ndarray:
    """Return the free strains of a box, shape (s, d, d).

    Args:
        dimension: Number of dimensions d.
        kind: "isotropic" (the size), "orthorhombic" (the lengths of the edges, each on its own), or "triclinic" (these
            and the shears; the box does not rotate).
        fixed: Components that keep their value, such as ``"xx"`` or ``"xy"``.

    Raises:
        UserError: When there is no such kind or component, or nothing is left free.
    """
    if kind not in get_args(BoxKind):
        raise UserError(f"the box kind is {kind!r}; it must be one of {', '.join(get_args(BoxKind))}.")
    if kind == "isotropic":
        if fixed:
            raise UserError("an isotropic box has one component, its size, which cannot be fixed in part.")
        return np.eye(dimension)[None]
    names = ["".join(sorted(_AXES[i] + _AXES[j])) for i, j in voigt_places(dimension)]
    names = names[: dimension if kind == "orthorhombic" else None]
    held = {"".join(sorted(name)) for name in fixed}
    if unknown := held - set(names):
        raise UserError(
            f"there is no component {', '.join(sorted(unknown))} of {kind} boxes in {dimension} dimensions: there are "
            f"{', '.join(names)}."
        )
    kept = [a for a, name in enumerate(names) if name not in held]
    if not kept:
        raise UserError("every component of the box is fixed: relax at fixed box instead.")
    return strain_basis(dimension)[kept]
