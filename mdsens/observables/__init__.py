"""Scalar observables: each a pure function ``State -> scalar``, usable alone and under ``jax.grad``."""

from mdsens.energy import energy, pressure

REGISTRY = {"energy": energy, "pressure": pressure}

__all__ = ["REGISTRY", "energy", "pressure"]
