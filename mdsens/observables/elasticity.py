r"""Elastic moduli of a relaxed state at zero temperature, non-affine relaxation included, and their derivatives.

With positions relaxed at every strain, the energy per volume is
:math:`U(\varepsilon)/V = U/V + \sigma_{ij}\varepsilon_{ij} + \tfrac12 T_{ijkl}\varepsilon_{ij}\varepsilon_{kl}` for a
symmetric :math:`\varepsilon` and :math:`F = 1 + \varepsilon`, where

.. math:: T_{ab} = \frac1V\left(U_{\varepsilon_a\varepsilon_b} - \Lambda_a\cdot H^{+}\Lambda_b\right),
          \qquad \Lambda_a = \frac{\partial^2 U}{\partial x\,\partial\varepsilon_a}.

The first term is the affine one (Born's, with the prestress), the second what the particles gain by moving on their
own, :math:`y_a = -H^{+}\Lambda_a`. Because y makes the energy stationary, the derivative of a modulus in anything is
that of the second derivative of U *along* :math:`(y_a, \varepsilon_a)` *with y held*: a function of the state like any
other observable, whose third derivatives of U are made by automatic differentiation, without a further solve.

References:
    J. F. Lutsko, J. Appl. Phys. 65, 2991 (1989), doi:10.1063/1.342716 (non-affine term).
    T. H. K. Barron, M. L. Klein, Proc. Phys. Soc. 85, 523 (1965), doi:10.1088/0370-1328/85/3/313 (moduli under stress).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import Barostat, State
from mdsens.energy.strain import periodic_box, strain_basis, strain_energy, voigt_places
from mdsens.errors import NumericalError
from mdsens.observables.stress import stress_tensor
from mdsens.response import LinearResponse, bordered
from mdsens.types import Position, Scalar

Quantity = Literal["bulk", "shear", "poisson"]
Kind = Literal["voigt", "reuss", "hill"]
_NOTHING = 1e-13  # of the largest: a weight that is rounding


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


class Modulus(eqx.Module):
    r"""A modulus as an observable: :math:`\varepsilon : c : \varepsilon'`, for a state near the one it was made for.

    Its value at that state and its derivatives there, partial and total, are exact; ``observable_sensitivity`` takes it
    as it takes any observable.

    Attributes:
        first: Symmetric strain, shape (d, d).
        second: The other one.
        first_move: What the particles do on their own under the first, shape (n, d), units of length.
        second_move: The same under the second.
    """

    first: Float[Array, "d d"]
    second: Float[Array, "d d"]
    first_move: Position
    second_move: Position

    def __call__(self, state: State) -> Scalar:
        """Return the modulus, units of energy per volume."""
        box = periodic_box(state)

        def along_first(t: Scalar) -> Scalar:
            def along_second(s: Scalar) -> Scalar:
                position = state.position + t * self.first_move + s * self.second_move
                return strain_energy(state, position, t * self.first + s * self.second)

            return jax.grad(along_second)(jnp.zeros(()))

        curvature = jax.jvp(along_first, (jnp.zeros(()),), (jnp.ones(()),))[1] / box.volume
        stress = stress_tensor(state)
        product = 0.5 * (self.first @ self.second + self.second @ self.first)
        turning = jnp.sum(stress * self.first) * jnp.trace(self.second)
        turned = jnp.sum(stress * self.second) * jnp.trace(self.first)
        return curvature + jnp.sum(stress * product) - 0.5 * (turning + turned)


def modulus(tensor: ElasticTensor, first: np.ndarray, second: np.ndarray | None = None) -> Modulus:
    r"""Return the observable :math:`\tfrac12(\varepsilon : c : \varepsilon' + \varepsilon' : c : \varepsilon)`.

    Args:
        tensor: The moduli of the state at which derivatives are wanted.
        first: Symmetric strain, shape (d, d).
        second: Symmetric strain; the first one by default.
    """
    second = first if second is None else second
    moves = [np.einsum("a,anx->nx", _components(strain), tensor.displacements) for strain in (first, second)]
    return Modulus(*map(jnp.asarray, (first, second, *moves)))


def bulk_modulus(tensor: ElasticTensor) -> Modulus:
    """Return the bulk modulus -V dP/dV as an observable."""
    return modulus(tensor, np.eye(tensor.dimension) / tensor.dimension)


def shear_modulus_in_plane(tensor: ElasticTensor, i: int = 0, j: int = 1) -> Modulus:
    """Return the modulus of a shear in the plane (i, j) as an observable: Voigt's c_44, c_55 or c_66, or 2D's c_33."""
    strain = np.zeros((tensor.dimension, tensor.dimension))
    strain[i, j] = strain[j, i] = 0.5
    return modulus(tensor, strain)


class FunctionOfModuli(eqx.Module):
    r"""A function f of all moduli as an observable, by its first-order change :math:`\sum_k w_k\,\delta M_k`.

    The matrix of its slopes, :math:`\partial f/\partial C_{ab} = \sum_k w_k e^k_a e^k_b`, says along which strains. The
    value at the state it was made for and the derivatives there, partial and total, are exact.

    Attributes:
        value: f at that state.
        weights: w, shape (k,).
        strains: The strains e, shape (k, d, d).
        moves: What the particles do on their own under each, shape (k, n, d).
        moduli: M of each at that state, shape (k,).
    """

    value: Scalar
    weights: Float[Array, " k"]
    strains: Float[Array, "k d d"]
    moves: Float[Array, "k n d"]
    moduli: Float[Array, " k"]

    def __call__(self, state: State) -> Scalar:
        """Return f to first order in the change of the moduli."""
        found = jax.vmap(lambda strain, move: Modulus(strain, strain, move, move)(state))(self.strains, self.moves)
        return self.value + self.weights @ (found - self.moduli)


def function_of_moduli(tensor: ElasticTensor, function: Callable[[Float[Array, "s s"]], Scalar]) -> FunctionOfModuli:
    """Return a function of the moduli as an observable.

    Args:
        tensor: The moduli of the state at which derivatives are wanted.
        function: JAX function of the stress-strain coefficients in Voigt's notation, shape (s, s), which are made
            symmetric for it (they are so without stress).

    Raises:
        NumericalError: When the function or its slopes are not finite, as averages of singular moduli are.
    """
    matrix = 0.5 * (tensor.voigt + tensor.voigt.T)
    value, slopes = jax.value_and_grad(function)(jnp.asarray(matrix))
    slopes = np.asarray(slopes)
    if not (np.isfinite(value) and np.isfinite(slopes).all()):
        raise NumericalError("a function of the moduli is not finite: they are singular, and the state flows.")
    weights, vectors = np.linalg.eigh(0.5 * (slopes + slopes.T))
    kept = np.abs(weights) > _NOTHING * np.abs(weights).max(initial=0.0)
    weights, components = weights[kept], vectors.T[kept]
    strains = np.tensordot(components, strain_basis(tensor.dimension), axes=1)
    moves = np.tensordot(components, tensor.displacements, axes=1)
    moduli = np.einsum("ka,ab,kb->k", components, matrix, components)
    return FunctionOfModuli(value, *map(jnp.asarray, (weights, strains, moves, moduli)))


def polycrystal_average(tensor: ElasticTensor, quantity: Quantity, kind: Kind = "hill") -> FunctionOfModuli:
    """Return one of the polycrystal averages as an observable; Poisson's ratio is Hill's."""

    def average(matrix: Float[Array, "s s"]) -> Scalar:
        found = polycrystal_averages(matrix)
        if quantity == "poisson":
            return found.poisson
        return (found.bulk if quantity == "bulk" else found.shear)[get_args(Kind).index(kind)]

    return function_of_moduli(tensor, average)


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


def _components(strain: np.ndarray) -> np.ndarray:
    """Return a symmetric strain in Voigt's notation, engineering shears, shape (s,)."""
    return np.array([strain[i, j] * (1 if i == j else 2) for i, j in voigt_places(len(strain))])


_stress = jax.jit(stress_tensor)
