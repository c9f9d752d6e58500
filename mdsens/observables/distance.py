r"""How far a structure is from a target: over the best translation, rotation and exchange of equal particles.

.. math:: D = \min_{c, R, \pi} \frac1N \sum_i \big|R\,(x_i - c) - t_{\pi(i)}\big|^2

in a periodic box with nearest images and without R. Translation and rotation are taken anew for every state; the
exchange of particles, which jumps, is found once and held. D is differentiable wherever the best rotation is unique, at
D = 0 too, where its derivative is zero (that of its root is not defined there).

References:
    B. K. P. Horn, J. Opt. Soc. Am. A 4, 629 (1987), doi:10.1364/JOSAA.4.000629 (best rotation by quaternions).
"""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linear_sum_assignment

from mdsens.energy import State
from mdsens.errors import UserError
from mdsens.types import Box, Configuration, FreeBox, PeriodicBox, Position, Scalar

_CENTRING = 20  # repetitions of "mean of nearest images" that find the best translation
_EXCHANGES = 50  # most repetitions of "best translation and rotation, then best exchange"
_CLEAR = 0.01  # of the squared distance of neighbours: a mean squared distance that no exchange improves
_EQUAL = 1e-10  # of their range: eigenvalues that count as equal
_STARTS = 60  # rotations from which the search for the best exchange begins


class MeanSquaredDistance(eqx.Module):
    """The mean squared distance to a target, units of length squared; its root is what is called the RMSD.

    Attributes:
        target: Positions of the target, in the order of the state's particles, shape (n, d).
        rotate: Whether the best rotation is taken.
    """

    target: Position
    rotate: bool = eqx.field(static=True)

    def __call__(self, state: State) -> Scalar:
        """Return D, units of length squared."""
        return jnp.mean(jnp.sum(self.differences(state) ** 2, axis=1))

    def differences(self, state: State) -> Position:
        """Return what is left of the particles' displacements from the target, shape (n, d)."""
        return _differences(state.position, self.target, state.configuration.box, self.rotate)


def distance_to(
    state: State, target: Configuration, *, rotate: bool | None = None, exchange: bool = True
) -> MeanSquaredDistance:
    """Make the mean squared distance to a target, for a state and those near it.

    Args:
        state: The state.
        target: The target: as many particles of every species; in a periodic box only its positions are used.
        rotate: Whether the best rotation is taken; by default for free clusters only.
        exchange: Whether equal particles may be exchanged: by SciPy's linear assignment, repeated with the best
            translation and rotation until nothing changes, from several starts; the best that is found.

    Raises:
        UserError: When the target has another number of particles, of species, or dimensions.
    """
    here = state.configuration
    _check_target(here, target)
    free = isinstance(here.box, FreeBox)
    rotate = free if rotate is None else rotate
    if rotate and not free:
        raise UserError("a periodic box singles out directions: a distance over rotations needs a free cluster.")
    order = np.arange(here.n_particles)
    if exchange:
        order = _best_exchange(here, target, rotate)
    return MeanSquaredDistance(jnp.asarray(np.asarray(target.position)[order]), rotate)


def _check_target(here: Configuration, target: Configuration) -> None:
    if target.position.shape != here.position.shape:
        n, d = target.position.shape
        raise UserError(
            f"the target has {n} particles in {d} dimensions, the state {here.n_particles} in {here.dimension}: "
            "give a target of the same system."
        )
    found, wanted = (np.sort(np.asarray(c.species)) for c in (target, here))
    if not np.array_equal(found, wanted):
        raise UserError("the target has other numbers of particles per species than the state.")


def _differences(position: Position, target: Position, box: Box, rotate: bool) -> Position:
    if isinstance(box, PeriodicBox):
        return _periodic_differences(position, target, box)
    centred, goal = position - jnp.mean(position, axis=0), target - jnp.mean(target, axis=0)
    return (centred @ _best_rotation(centred, goal).T if rotate else centred) - goal


@jax.jit
def _all_differences(position: Position, target: Position, box: Box) -> Float[Array, "n m d"]:
    return box.displacement(position[:, None] - target[None])


@functools.partial(jax.jit, static_argnums=3)
def _left(position: Position, target: Position, box: Box, rotate: bool) -> Position:
    return _differences(position, target, box, rotate)


def _periodic_differences(position: Position, target: Position, box: PeriodicBox) -> Position:
    """Return the nearest images of x - t - c for the c that makes their mean vanish."""
    apart = position - target
    # where differences point to on a circle along every axis: a start that does not depend on the images chosen
    phase = 2 * jnp.pi * apart @ box.inverse.T
    angle = jnp.arctan2(jnp.sum(jnp.sin(phase), axis=0), jnp.sum(jnp.cos(phase), axis=0))
    start = jax.lax.stop_gradient(angle / (2 * jnp.pi) @ box.matrix.T)
    held, space = jax.lax.stop_gradient((apart, box))
    better = lambda _, shift: shift + jnp.mean(space.displacement(held - shift), axis=0)  # noqa: E731
    left = box.displacement(apart - jax.lax.fori_loop(0, _CENTRING, better, start))
    return left - jnp.mean(left, axis=0)


def _best_rotation(position: Position, target: Position) -> Float[Array, "d d"]:
    """Return the rotation R that brings centred positions closest to a centred target, shape (d, d)."""
    moment = position.T @ target
    if len(moment) == 2:
        cosine, sine = moment[0, 0] + moment[1, 1], moment[0, 1] - moment[1, 0]
        size = jnp.sqrt(cosine**2 + sine**2)
        return jnp.array([[cosine, -sine], [sine, cosine]]) / size
    m = moment
    trace = jnp.trace(m)
    turn = jnp.array([m[1, 2] - m[2, 1], m[2, 0] - m[0, 2], m[0, 1] - m[1, 0]])
    corner = m + m.T - trace * jnp.eye(3)
    quaternions = jnp.block([[trace[None, None], turn[None, :]], [turn[:, None], corner]])
    w, x, y, z = _first_vector(quaternions)
    return jnp.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


@jax.custom_jvp
def _first_vector(matrix: Float[Array, "4 4"]) -> Float[Array, "4"]:
    r"""Return the eigenvector of the largest eigenvalue; its derivative needs that one alone to be simple.

    .. math:: (\lambda - K + q q^T)\, dq = dK\, q - q\, (q^T dK\, q)

    With the singular values s1 >= s2 >= |s3| of the moment (s3 < 0 for a mirror image) the eigenvalues are
    s1 + s2 + s3, s1 - s2 - s3, -s1 + s2 - s3 and -s1 - s2 + s3: the best rotation is unique unless s2 + s3 = 0. A
    symmetric cluster, whose singular values are equal, is an ordinary case.
    """
    return jnp.linalg.eigh(matrix)[1][:, -1]


@_first_vector.defjvp
def _first_vector_jvp(
    primals: tuple[Float[Array, "4 4"]], tangents: tuple[Float[Array, "4 4"]]
) -> tuple[Float[Array, "4"], Float[Array, "4"]]:
    (matrix,), (change,) = primals, tangents
    first, identity = _first_vector(matrix), jnp.eye(4)
    fourth, third, second, top = jnp.linalg.eigvalsh(jax.lax.stop_gradient(matrix))
    several = top - second <= _EQUAL * (top - fourth)
    # where particles lie on one line a turn about it changes nothing; a mirror image has best rotations apart
    kink = several & (third - fourth > _EQUAL * (top - fourth))
    held = jnp.where(several, _EQUAL * (top - fourth), 0.0)
    apart = (first @ matrix @ first + held) * identity - matrix + jnp.outer(first, first) * (top - fourth)
    pushed = change @ first
    moved = jnp.linalg.solve(apart, pushed - first * (first @ pushed))
    return first, moved * jnp.where(kink, jnp.nan, 1.0)


def _best_exchange(here: Configuration, target: Configuration, rotate: bool) -> np.ndarray:
    """Return which particle of the target stands for every particle of the state, shape (n,)."""
    best, order = np.inf, np.arange(here.n_particles)
    goal = jnp.asarray(target.position)
    apart = np.linalg.norm(np.asarray(_all_differences(goal, goal, target.box)), axis=-1)
    nearest = float(np.min(apart + np.where(np.eye(len(goal)) > 0, np.inf, 0.0)))
    for start in _starts(here, target, rotate):
        found, cost = _improved(here, target, start, rotate)
        if cost < best * (1 - 1e-9):
            best, order = cost, found
        if best < _CLEAR * nearest**2:
            break  # every particle is near its counterpart and far from all others
    return order


def _starts(here: Configuration, target: Configuration, rotate: bool) -> list[np.ndarray]:
    """Return positions of the state, moved rigidly, from which the exchange is improved, as arrays of shape (n, d)."""
    position, goal = np.asarray(here.position), np.asarray(target.position)
    if isinstance(here.box, PeriodicBox):
        # as they are, and with one particle of the rarest species on each of its counterparts
        species, wanted = np.asarray(here.species), np.asarray(target.species)
        rarest = int(np.argmin(np.where(np.bincount(species) > 0, np.bincount(species), len(species) + 1)))
        first = position[np.flatnonzero(species == rarest)[0]]
        shifts = [np.zeros(here.dimension), *(goal[wanted == rarest] - first)[:_STARTS]]
        return [position + shift for shift in shifts]
    centred = position - position.mean(axis=0) + goal.mean(axis=0)
    if not rotate:
        return [centred]
    rng = np.random.default_rng(0)
    turns = [np.eye(here.dimension), *(_random_rotation(rng, here.dimension) for _ in range(_STARTS))]
    return [(position - position.mean(axis=0)) @ turn.T + goal.mean(axis=0) for turn in turns]


def _random_rotation(rng: np.random.Generator, dimension: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((dimension, dimension)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, ::-1]


def _improved(here: Configuration, target: Configuration, start: np.ndarray, rotate: bool) -> tuple[np.ndarray, float]:
    """Repeat the best exchange and the best rigid motion until the exchange stays; return it and the distance."""
    position, goal, placed = np.asarray(here.position), np.asarray(target.position), start
    species, wanted = np.asarray(here.species), np.asarray(target.species)
    order, cost = np.full(len(position), -1), np.inf
    for _ in range(_EXCHANGES):
        again = np.empty_like(order)
        squares = np.sum(np.asarray(_all_differences(jnp.asarray(placed), jnp.asarray(goal), here.box)) ** 2, axis=-1)
        for kind in np.unique(species):
            mine, theirs = np.flatnonzero(species == kind), np.flatnonzero(wanted == kind)
            rows, columns = linear_sum_assignment(squares[np.ix_(mine, theirs)])
            again[mine[rows]] = theirs[columns]
        if np.array_equal(again, order):
            break
        order = again
        left = np.asarray(_left(jnp.asarray(position), jnp.asarray(goal[order]), here.box, rotate))
        placed, cost = goal[order] + left, float(np.mean(np.sum(left**2, axis=1)))
    return order, cost
