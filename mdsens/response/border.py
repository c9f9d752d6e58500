r"""The border of the free strains: what the response at fixed box becomes where the box relaxes, too.

The enthalpy :math:`W(x, \varepsilon) = U + P V` of the state deformed by its free strains has the Hessian

.. math:: K = \begin{pmatrix} H & \Lambda \\ \Lambda^T & W_{\varepsilon\varepsilon} \end{pmatrix},
          \qquad \Lambda_a = \frac{\partial^2 U}{\partial x\,\partial\varepsilon_a}.

Its systems are solved with the factor of H at fixed box: with the non-affine displacements
:math:`y = -H^{+}\Lambda` and :math:`S = W_{\varepsilon\varepsilon} + \Lambda^T y`,
:math:`K (u, e) = (f, h)` gives :math:`S e = h + y\cdot f` and :math:`u = H^{+} f + y\,e`. Here u is what particles move
beyond following the box: their real displacement is :math:`u + (e_a\varepsilon_a)\,x`. At no pressure S over the volume
are the elastic moduli, :math:`W_{\varepsilon\varepsilon}` over it their affine part.
"""

from __future__ import annotations

import dataclasses

import numpy as np

_SINGULAR = 1e-9  # of the largest: a smaller eigenvalue of the box's stiffness means that the box is floppy


@dataclasses.dataclass(frozen=True)
class Border:
    """What the free strains add to a factored Hessian; nothing at fixed box, where there are none (s = 0).

    Attributes:
        strains: Free strains, shape (s, d, d).
        moves: y, how particles move on their own under each, shape (s, n, d).
        affine: Second derivatives of the enthalpy while particles follow the box, shape (s, s), units of energy.
        stiffness: S, shape (s, s), units of energy.
        residual: Relative residuals of the solves for y, shape (s,).
    """

    strains: np.ndarray
    moves: np.ndarray
    affine: np.ndarray
    stiffness: np.ndarray
    residual: np.ndarray

    @classmethod
    def none(cls, n: int, d: int) -> Border:
        """Return the border of a fixed box, for positions of shape (n, d)."""
        return cls(np.zeros((0, d, d)), np.zeros((0, n, d)), np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0))

    def closed(self, found: np.ndarray, fields: np.ndarray, loads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the solution with the box relaxed, from the one at fixed box.

        Args:
            found: :math:`H^{+} f`, shape (k, n, d).
            fields: Right-hand sides f of the particles, shape (k, n, d).
            loads: Right-hand sides h of the strains, shape (k, s).

        Returns:
            u, shape (k, n, d), and e, shape (k, s).
        """
        if not len(self.strains):
            return found, np.zeros((len(found), 0))
        flat = self.moves.reshape(len(self.moves), -1)
        components = np.linalg.solve(self.stiffness, loads.T + flat @ fields.reshape(len(fields), -1).T).T
        return found + np.tensordot(components, self.moves, axes=1), components

    def strain(self, components: np.ndarray) -> np.ndarray:
        """Return the strains with these components, shape (k, d, d)."""
        return np.asarray(np.tensordot(components, self.strains, axes=1))

    def followed(self, moved: np.ndarray, components: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return real displacements about the origin: those beyond following the box, and the box's."""
        if not len(self.strains):
            return moved
        return np.asarray(moved + position @ np.swapaxes(self.strain(components), 1, 2))

    @property
    def softest(self) -> float:
        """The smallest eigenvalue of the stiffness, units of energy; infinite at fixed box."""
        return float(np.linalg.eigvalsh(self.stiffness)[0]) if len(self.strains) else float("inf")

    @property
    def is_soft(self) -> bool:
        """Whether the enthalpy does not rise with every free strain."""
        values = np.linalg.eigvalsh(self.stiffness)
        return len(values) > 0 and bool(values[0] <= _SINGULAR * max(abs(values[-1]), 1e-300))

    def reach(self, field: np.ndarray, load: np.ndarray, stiffness: float) -> tuple[np.ndarray, np.ndarray]:
        """Bound the norms of u and e for right-hand sides of these norms, H having no smaller eigenvalue."""
        moves = float(np.linalg.norm(self.moves))
        components = (load + moves * field) / abs(self.softest)
        # nothing moves on its own where every motion is a zero mode, as in a cell of one atom
        alone = field / stiffness if stiffness > 0 else np.zeros_like(field)
        return alone + moves * components, components

    def real(self, moved: np.ndarray, components: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Bound the norm of real displacements by those of u and e."""
        follow = np.einsum("aij,nj->ani", self.strains, position)
        return np.asarray(moved + float(np.linalg.norm(follow)) * components)
