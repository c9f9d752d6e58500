"""Scalar observables: each a pure function ``State -> scalar``, usable alone and under ``jax.grad``; a file per topic.

Moduli need the state's response besides: ``elastic_tensor(response)``, and ``modulus`` makes an observable of each.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from mdsens.energy import State, energy, pressure
from mdsens.errors import UserError
from mdsens.observables.elasticity import (
    ElasticTensor,
    Modulus,
    bulk_modulus,
    elastic_tensor,
    modulus,
    shear_modulus,
)
from mdsens.observables.packing import packing_fraction
from mdsens.observables.stress import StressComponent, stress_tensor
from mdsens.types import Scalar

REGISTRY: dict[str, Callable[[State], Scalar]] = {
    "energy": energy,
    "pressure": pressure,
    "packing_fraction": packing_fraction,
}
_STRESS = re.compile(r"stress\[([012]),([012])\]")


def named_observable(name: str) -> Callable[[State], Scalar]:
    """Return the observable of that name: one of ``REGISTRY``, or a component such as ``stress[0,1]``.

    Raises:
        UserError: When there is none; the message names the nearest.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    if found := _STRESS.fullmatch(name.replace(" ", "")):
        return StressComponent(int(found[1]), int(found[2]))
    known = [*REGISTRY, "stress[0,1]"]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}? Known" if near else "known"
    raise UserError(f"there is no observable {name!r}; {hint}: {', '.join(known)}.")


__all__ = [
    "REGISTRY",
    "ElasticTensor",
    "Modulus",
    "StressComponent",
    "bulk_modulus",
    "elastic_tensor",
    "energy",
    "modulus",
    "named_observable",
    "packing_fraction",
    "pressure",
    "shear_modulus",
    "stress_tensor",
]
