r"""Elastic moduli as observables: functions of the state that have derivatives in anything.

A modulus is :math:`U_{\varepsilon\varepsilon'}/V` along strains and what the particles do on their own under them, y
(see ``mdsens.observables.elasticity``). Because y makes the energy stationary, its derivative in anything is that of
the second derivative of U *along* :math:`(y, \varepsilon)` *with y held*: third derivatives of U, made by automatic
differentiation, without a further solve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdsens.energy import State
from mdsens.energy.strain import periodic_box, strain_basis, strain_energy, voigt_places
from mdsens.errors import NumericalError
from mdsens.observables.elasticity import ElasticTensor, polycrystal_averages
from mdsens.observables.stress import stress_tensor
from mdsens.types import Position, Scalar

Quantity = Literal["bulk", "shear", "poisson"]
Kind = Literal["voigt", "reuss", "hill"]
_NOTHING = 1e-13  # of the largest: a weight that is rounding


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


def _components(strain: np.ndarray) -> np.ndarray:
    """Return a symmetric strain in Voigt's notation, engineering shears, shape (s,)."""
    return np.array([strain[i, j] * (1 if i == j else 2) for i, j in voigt_places(len(strain))])
