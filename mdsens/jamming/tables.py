r"""From followed packings to the tables of their compression: points, exponents, and where each packing jams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdsens.errors import NumericalError, UserError
from mdsens.jamming.exponents import FEWEST, PowerLaw, fit_power_law
from mdsens.sweep import Record, mean_and_error
from mdsens.sweep.tables import stacked

QUANTITIES = ("excess_contacts", "modulus_ratio", "pressure", "shear_modulus", "bulk_modulus")
HARMONIC = (0.5, 0.5, 1.0, 0.5, 0.0)


def jamming_fractions(
    pressure: np.ndarray, packing_fraction: np.ndarray, bulk_modulus: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the packing fraction at which every packing loses its pressure.

    .. math:: \phi_J = \phi - P\,\frac{d\phi}{dP} = \phi\left(1 - \frac{P}{B}\right), \qquad B = -V\frac{dP}{dV},

    from the state of lowest pressure. The bulk modulus is exact, so what is left out is its change below that
    pressure; for harmonic spheres it adds :math:`O(P^{3/2})`.

    Args:
        pressure: Pressures, shape (k,).
        packing_fraction: Packing fractions, shape (m, k), NaN where a packing gave no answer.
        bulk_modulus: Bulk moduli, shape (m, k), NaN at the same entries.

    Returns:
        phi_J, shape (m,), and how far the state of the next higher pressure would have put it, shape (m,), which is
        larger than the error of phi_J; NaN where fewer than one (two) states answered.
    """
    order = np.argsort(pressure)
    tangents = (packing_fraction * (1.0 - pressure / bulk_modulus))[:, order]
    found = np.full((len(tangents), 2), np.nan)
    for row, values in zip(found, tangents, strict=True):
        answered = values[np.isfinite(values)][:2]
        row[: len(answered)] = answered
    return found[:, 0], np.abs(found[:, 1] - found[:, 0])


def fitted_points(pressures: Sequence[float] | np.ndarray, fit_range: tuple[float, float]) -> np.ndarray:
    """Return which pressures lie in the range, both ends included, shape (k,).

    Raises:
        UserError: When they are fewer than three.
    """
    low, high = fit_range
    fitted = (np.asarray(pressures) >= low) & (np.asarray(pressures) <= high)
    if fitted.sum() < FEWEST:
        raise UserError(
            f"{int(fitted.sum())} of the pressures lie in fit_range, {low:g} to {high:g}; a fit needs {FEWEST} or more."
        )
    return np.asarray(fitted)


def compression_tables(
    records: Sequence[Record],
    *,
    dimension: int,
    fit_range: tuple[float, float],
    expected: Sequence[float] = HARMONIC,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, np.ndarray]]:
    r"""Average an ensemble of followed packings and fit its exponents.

    .. math:: Z - Z_c = \frac{2 N_c}{N} - \left(2d - \frac{2d}{N}\right), \qquad \Delta\phi = \phi - \phi_J,

    with N particles in the backbone and N_c contacts among them, and every packing's own phi_J.

    Args:
        records: From ``followed``, m packings at the same k pressures.
        dimension: Number of dimensions d.
        fit_range: Lowest and highest pressure of the points that are fitted.
        expected: Exponents of Z - Z_c, G/B, P, G and B to compare with; the fits do not know them. The defaults are
            those of harmonic particles.
        n_resamples: Resampled ensembles for the errors of the exponents.
        seed: Of the resampling.

    Returns:
        Three tables:

        - ``packings``: everything of the records stacked, (m, k), with ``excess_contacts`` (Z - Z_c),
          ``modulus_ratio`` (G/B) and ``excess_fraction`` (phi - phi_J); ``jamming_fraction`` and
          ``jamming_fraction_error``, (m,);
        - ``compression``: ``pressure``, mean and standard error (``_mean``, ``_sem``) of these three and the moduli,
          ``n_used``, ``n_refused``, and whether the point was ``fitted``, each (k,);
        - ``exponents``: ``quantity``, the fields of ``PowerLaw`` and ``expected``, one row per power law in the excess
          packing fraction; NaN where there is none, with the reason as ``remark``.

    Raises:
        UserError: When the records have different pressures, or fewer than three packings or pressures can be fitted.

    References:
        C. S. O'Hern et al., Phys. Rev. E 68, 011306 (2003), doi:10.1103/PhysRevE.68.011306.
        C. P. Goodrich, A. J. Liu, S. R. Nagel, Phys. Rev. Lett. 109, 095704 (2012), doi:10.1103/PhysRevLett.109.095704
        (Z_c and how finite packings depart from the power laws).
    """
    packings = _with_excess(stacked(records), dimension)
    pressure = packings["pressure"][0]
    if not np.all(packings["pressure"] == pressure):
        raise UserError("packings of one ensemble must be followed through the same pressures.")
    fitted = fitted_points(pressure, fit_range)
    points: dict[str, np.ndarray] = {"pressure": pressure}
    for name in ("excess_fraction", "excess_contacts", "modulus_ratio", "shear_modulus", "bulk_modulus"):
        points[f"{name}_mean"], points[f"{name}_sem"], points["n_used"] = mean_and_error(packings[name].T)
    points |= {"n_refused": len(records) - points["n_used"], "fitted": fitted}
    abscissa = packings["excess_fraction"][:, fitted]
    laws, remarks = zip(
        *(_law_or_remark(abscissa, packings[name][:, fitted], n_resamples, seed) for name in QUANTITIES), strict=True
    )
    columns = {name: np.array([getattr(law, name) for law in laws]) for name in PowerLaw.__dataclass_fields__}
    texts = {"quantity": np.array(QUANTITIES), "remark": np.array(remarks)}
    return {
        "packings": packings,
        "compression": points,
        "exponents": texts | columns | {"expected": np.array(expected, dtype=float)},
    }


def _with_excess(packings: dict[str, np.ndarray], dimension: int) -> dict[str, np.ndarray]:
    """Add what is counted from isostaticity and from jamming."""
    backbone, fraction, bulk = (packings[name] for name in ("n_backbone", "packing_fraction", "bulk_modulus"))
    at_jamming, error = jamming_fractions(packings["pressure"][0], fraction, bulk)
    isostatic = 2.0 * dimension * (1.0 - 1.0 / backbone)
    return packings | {
        "excess_contacts": 2.0 * packings["n_contacts"] / backbone - isostatic,
        "modulus_ratio": packings["shear_modulus"] / bulk,
        "excess_fraction": fraction - at_jamming[:, None],
        "jamming_fraction": at_jamming,
        "jamming_fraction_error": error,
    }


def _law_or_remark(x: np.ndarray, y: np.ndarray, n_resamples: int, seed: int) -> tuple[PowerLaw, str]:
    """Return a power law, or one of NaN and why there is none."""
    try:
        return fit_power_law(x, y, n_resamples, seed), ""
    except NumericalError as error:
        return PowerLaw(*[float("nan")] * len(PowerLaw.__dataclass_fields__)), str(error)
