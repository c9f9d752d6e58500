"""Minimisers at fixed box: FIRE from jax-md to the right basin, a Newton polish to machine precision."""

from mdsens.relax.fire import Fire
from mdsens.relax.relaxation import History, Relaxation, RelaxationSettings, relax

__all__ = ["Fire", "History", "Relaxation", "RelaxationSettings", "relax"]
