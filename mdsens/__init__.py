"""Exact derivatives of relaxed particle systems in the parameters of their potential.

    import mdsens as md

    atoms = md.read("packing.extxyz")                      # or ASE's Atoms, or md.systems.bidisperse(n_particles=128)
    law = md.potentials.SoftSphere({"A": 0.6, "B": 1.0})
    found = md.relax(atoms, law)
    dx = found.sensitivity("soft_sphere.sigma[A]")
    table = found.observables(["pressure", "bulk_modulus"])
    found.save("run.h5")
    md.verify("run.h5")
    md.fit(atoms, law), md.thermal(atoms, law, temperature=0.1), md.relax([atoms, atoms], law)

Nothing is loaded before it is asked for.
"""

import importlib as _importlib
import os as _os
import sys as _sys
from typing import Any as _Any

__version__ = "0.1.0"

_ROOMS = {
    "read": "mdsens.face",
    "relax": "mdsens.face",
    "fit": "mdsens.face",
    "thermal": "mdsens.face",
    "load": "mdsens.face",
    "verify": "mdsens.face",
    "Configuration": "mdsens.types",
    "FreeBox": "mdsens.types",
    "PeriodicBox": "mdsens.types",
    "Sum": "mdsens.energy",
}
_PACKAGES = {"potentials": "potentials", "systems": "mdsens.face.systems"}
__all__ = [
    "Configuration",
    "FreeBox",
    "PeriodicBox",
    "Sum",
    "fit",
    "load",
    "potentials",
    "read",
    "relax",
    "systems",
    "thermal",
    "verify",
]

# Double precision, unless single precision was asked for by name, which is refused where something is computed.
if "jax" not in _sys.modules:
    _os.environ.setdefault("JAX_ENABLE_X64", "1")
    _os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else a line per program that comes from the cache
elif _os.environ.get("JAX_ENABLE_X64", "").lower() not in ("0", "false", "off"):
    _sys.modules["jax"].config.update("jax_enable_x64", True)


def __getattr__(name: str) -> _Any:
    """Load what is asked for."""
    if name in _PACKAGES:
        return _importlib.import_module(_PACKAGES[name])
    if name in _ROOMS:
        return getattr(_importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'mdsens' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
