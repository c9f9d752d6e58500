"""Studies of packings: followed through pressures to their exponents, and the experiment of Blondel et al."""

from mdsens.jamming.exponents import PowerLaw, fit_power_law
from mdsens.jamming.following import check_way, followed, followed_again
from mdsens.jamming.tables import compression_tables, fitted_points, jamming_fractions

__all__ = [
    "PowerLaw",
    "check_way",
    "compression_tables",
    "fit_power_law",
    "fitted_points",
    "followed",
    "followed_again",
    "jamming_fractions",
]
