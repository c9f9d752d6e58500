r"""The Hessian of any energy, from its products with vectors.

A product :math:`H v = \frac{d}{dt}\nabla U(x + t v)` costs a few evaluations of the energy and no memory beyond them.
Where the energy declares how local it is, the whole matrix follows from a number of products that does not grow with
the number of particles (``mdsens.hessian.colouring``); where it does not, from one product per column.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mdsens.energy import State
from mdsens.energy.products import hessian_products, random_product
from mdsens.errors import UserError
from mdsens.hessian.colouring import Colouring, assemble_blocks, coloured_blocks, full_colouring, star_colouring

MOST_ENTRIES = 10_000_000  # of an assembled matrix, 120 MB: 3000 unknowns that all feel each other
_AGREEMENT = 1e-10  # relative difference of two products with H: rounding is 1e-14 or so


def unknowns_of(state: State, particles: np.ndarray | None = None) -> np.ndarray:
    """Return the numbers d i + a of the components that are free, shape (m,), of some particles or of all."""
    configuration = state.configuration
    free = np.ones((configuration.n_particles, configuration.dimension), bool)
    if configuration.held is not None:
        free &= ~np.asarray(configuration.held)
    if particles is not None:
        free &= particles[:, None]
    return np.flatnonzero(free)


def coupling_pattern(state: State) -> sp.csr_array:
    """Return which particles may have a mixed second derivative, shape (n, n), boolean, symmetric, diagonal stored.

    As the potential declares it; all of them where it declares nothing.
    """
    n, known = state.configuration.n_particles, state.potential.coupling(state.configuration)
    return sp.csr_array(np.ones((n, n), bool)) if known is None else known


def is_assembled(state: State) -> bool:
    """Return whether the Hessian, as far as the declared locality lets it be sparse, has few enough entries."""
    n, d = state.position.shape
    if n * n * d * d <= MOST_ENTRIES:
        return True
    known = state.potential.coupling(state.configuration)
    return known is not None and known.nnz * d * d <= MOST_ENTRIES


def coloured_hessian(state: State) -> sp.csc_array:
    """Return d2U/dx2 by colouring, shape (n d, n d), every diagonal entry stored, no other zeros.

    One further product, with a random vector, tells whether the declared locality holds.

    Raises:
        UserError: When particles farther apart than declared have a mixed derivative.
    """
    colouring = hessian_colouring(state)
    axes = np.eye(state.configuration.dimension)[:, None, :]

    def product(members: np.ndarray) -> np.ndarray:
        return np.asarray(hessian_products(state, members[None, :, None] * axes))

    matrix = assemble_blocks(colouring, coloured_blocks(colouring, product))
    _check_locality(state, matrix)
    return matrix


def hessian_colouring(state: State) -> Colouring:
    """Return the colouring by which a state's Hessian is recovered; one colour per particle where all are coupled."""
    pattern, n = coupling_pattern(state), state.configuration.n_particles
    return full_colouring(n) if pattern.nnz == n * n else star_colouring(pattern)


def _check_locality(state: State, matrix: sp.csc_array) -> None:
    if not np.isfinite(matrix.data).all():
        return  # whoever factors the matrix says so
    vector, image = random_product(state)
    difference = np.linalg.norm(matrix @ vector.ravel() - image.ravel())
    if difference > _AGREEMENT * np.linalg.norm(image):
        raise UserError(
            f"the energy {state.potential.name!r} couples particles farther apart than declared: its Hessian misses "
            f"{difference / np.linalg.norm(image):.1e} of a product. Raise the cutoff or the hops of its Locality (2 "
            "for three-body terms and embedded atoms), or leave it out."
        )
