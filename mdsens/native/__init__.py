"""Machine code made from a law's own JAX function, for what a CPU runs faster than XLA's: lists and minimisers."""

from mdsens.native.law import NativeLaw, Ranges, native_law, native_ranges
from mdsens.native.listing import Listing, listed
from mdsens.native.surface import free_components, native_surface

__all__ = [
    "Listing",
    "NativeLaw",
    "Ranges",
    "free_components",
    "listed",
    "native_law",
    "native_ranges",
    "native_surface",
]
