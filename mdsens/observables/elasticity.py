r"""Elastic moduli of a relaxed state at zero temperature, non-affine relaxation included.

With positions relaxed at every strain, the energy per volume is
:math:`U(\varepsilon)/V = U/V + \sigma_{ij}\varepsilon_{ij} + \tfrac12 T_{ijkl}\varepsilon_{ij}\varepsilon_{kl}` for a
symmetric :math:`\varepsilon` and :math:`F = 1 + \varepsilon`, where

.. math:: T_{ab} = \frac1V\left(U_{\varepsilon_a\varepsilon_b} - \Lambda_a\cdot H^{+}\Lambda_b\right),
          \qquad \Lambda_a = \frac{\partial^2 U}{\partial x\,\partial\varepsilon_a}.

The first term is the affine one (Born's, with the prestress), the second what the particles gain by moving on their
own, :math:`y_a = -H^{+}\Lambda_a`.

References:
    J. F. Lutsko, J. Appl. Phys. 65, 2991 (1989), doi:10.1063/1.342716 (non-affine term).
    T. H. K. Barron, M. L. Klein, Proc. Phys. Soc. 85, 523 (1965), doi:10.1088/0370-1328/85/3/313 (moduli under stress).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import Barostat
from mdsens.energy.strain import periodic_box, strain_basis, voigt_places
from mdsens.errors import NumericalError
from mdsens.observables.stress import stress_tensor
from mdsens.response import LinearResponse, bordered
from mdsens.types import Scalar


@dataclasses.dataclass(frozen=True)
class ElasticTensor:
    r"""The elastic moduli of a relaxed state.

    Attributes:
        curvature: T, second derivative of the energy per volume in the symmetric strain, shape (d, d, d, d): the tensor
            of jax-md's ``athermal_moduli``.
        affine: Its affine part, same shape: moduli of particles that only follow the box.
        stress: Cauchy stress of the state, shape (d, d).
        displacements: y, how far particles move on their own per unit of every strain of Voigt's, shape (s, n, d).
        residual: Relative residual of every solve, shape (s,).
    """

    curvature: np.ndarray
    affine: np.ndarray
    stress: np.ndarray
    displacements: np.ndarray
    residual: np.ndarray

    @property
    def dimension(self) -> int:
        """Number of dimensions d."""
        return len(self.stress)

    @property
    def pressure(self) -> float:
        """Pressure, units of energy per volume."""
        return -float(np.trace(self.stress)) / self.dimension

    @property
    def stress_strain(self) -> np.ndarray:
        r"""Stress-strain coefficients :math:`d\sigma_{ij}/d\varepsilon_{kl}`, shape (d, d, d, d).

        .. math:: c_{ijkl} = T_{ijkl} + \tfrac14(\sigma_{ik}\delta_{jl} + \sigma_{il}\delta_{jk}
                  + \sigma_{jk}\delta_{il} + \sigma_{jl}\delta_{ik}) - \sigma_{ij}\delta_{kl}

        Without stress they are T. With it they are what a rheometer measures: their bulk modulus is -V dP/dV.
        """
        unit = np.eye(self.dimension)
        exchanged = [np.einsum(f"{pair}->ijkl", self.stress, unit) for pair in ("ik,jl", "il,jk", "jk,il", "jl,ik")]
        return np.asarray(self.curvature + 0.25 * sum(exchanged) - np.einsum("ij,kl->ijkl", self.stress, unit))

    @property
    def voigt(self) -> np.ndarray:
        """Stress-strain coefficients in Voigt's notation, shape (s, s): 11, 22, (33, 23, 13,) 12."""
        return in_voigt(self.stress_strain)

    @property
    def bulk_modulus(self) -> float:
        r"""Bulk modulus :math:`-V\,dP/dV = c_{iijj}/d^2`, units of energy per volume."""
        return float(np.einsum("iijj", self.stress_strain)) / self.dimension**2

    @property
    def mean_shear_modulus(self) -> float:
        r"""Shear modulus averaged over all orientations (Voigt's average), units of energy per volume.

        .. math:: G = \frac{c_{ijij} - c_{iijj}/d}{(d - 1)(d + 2)}
        """
        d, c = self.dimension, self.stress_strain
        return float((np.einsum("ijij", c) - np.einsum("iijj", c) / d) / ((d - 1) * (d + 2)))

    @property
    def averages(self) -> Averages:
        """Voigt's, Reuss's and Hill's averages.

        Raises:
            NumericalError: When the moduli are singular, as those of a state that flows are.
        """
        found = polycrystal_averages(self.voigt)
        if not np.isfinite(found.poisson):
            raise NumericalError("the elastic moduli are singular: the state flows without stress.")
        return found


class Averages(NamedTuple):
    """Isotropic moduli of a polycrystal: bounds (uniform strain, uniform stress) and their mean.

    Attributes:
        bulk: Voigt's, Reuss's and Hill's bulk modulus, shape (3,).
        shear: The same of the shear modulus.
        poisson: Poisson's ratio of Hill's moduli.
    """

    bulk: Float[Array, "3"]
    shear: Float[Array, "3"]
    poisson: Scalar


def elastic_tensor(response: LinearResponse) -> ElasticTensor:
    """Return the elastic moduli of a relaxed state, from the factor of its response.

    Raises:
        UserError: For a free system.
        NumericalError: When a solve misses a relative residual of 1e-6.
    """
    box = periodic_box(response.state)
    barostat, volume = Barostat(0.0, strain_basis(box.dimension)), float(box.volume)
    found = bordered(response.fixed, barostat).border
    return ElasticTensor(
        curvature=out_of_voigt(found.stiffness / volume),
        affine=out_of_voigt(found.affine / volume),
        stress=np.asarray(_stress(response.state)),
        displacements=found.moves,
        residual=found.residual,
    )


def in_voigt(tensor: np.ndarray) -> np.ndarray:
    """Return a tensor (d, d, d, d) with minor symmetries in Voigt's notation, shape (s, s)."""
    i, j = np.array(voigt_places(len(tensor))).T
    return np.asarray(tensor[i[:, None], j[:, None], i, j])


def out_of_voigt(matrix: np.ndarray) -> np.ndarray:
    """Return the tensor (d, d, d, d) of a matrix in Voigt's notation."""
    d = {1: 1, 3: 2, 6: 3}[len(matrix)]
    place = np.zeros((d, d), int)
    for a, (i, j) in enumerate(voigt_places(d)):
        place[i, j] = place[j, i] = a
    return np.asarray(matrix[place[:, :, None, None], place])


def polycrystal_averages(matrix: Float[Array | np.ndarray, "s s"]) -> Averages:
    """Return the averages of moduli in Voigt's notation, two or three dimensions; infinite or NaN for singular ones.

    References:
        R. Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307.
    """
    matrix = jnp.asarray(matrix)
    d = {3: 2, 6: 3}[len(matrix)]
    (trace, whole, shears), (trace_s, whole_s, shears_s) = (_sums(part, d) for part in (matrix, jnp.linalg.inv(matrix)))
    n = (d - 1) * (d + 2)  # twice the number of independent deviators
    voigt = whole / d**2, (trace - whole / d + 2 * shears) / n
    reuss = 1 / whole_s, n / (4 * (trace_s - whole_s / d) + 2 * shears_s)
    bulk, shear = (jnp.stack([a, b, 0.5 * (a + b)]) for a, b in zip(voigt, reuss, strict=True))
    return Averages(bulk, shear, (d * bulk[2] - 2 * shear[2]) / (d * (d - 1) * bulk[2] + 2 * shear[2]))


def _sums(matrix: Float[Array, "s s"], d: int) -> tuple[Scalar, Scalar, Scalar]:
    """Return the sums of m_ii and of all m_ij over the normal components, and of m_ii over the shears."""
    return jnp.trace(matrix[:d, :d]), jnp.sum(matrix[:d, :d]), jnp.trace(matrix[d:, d:])


_stress = jax.jit(stress_tensor)
