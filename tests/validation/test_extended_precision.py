"""How good estimated errors are: harmonic packings solved once more in extended precision, by other code.

Run as a script it writes the errors to a file: they are rounding, and belong to programs compiled as users' are.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mdsens.energy import energy, pressure
from mdsens.energy.parameters import PerSpecies, Uniform
from mdsens.energy.paths import select
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import observable_sensitivities, position_sensitivity
from potentials.soft_sphere import SoftSphere
from systems import bidisperse

Long = np.longdouble
SEEDS, PATHS = range(5), ["soft_sphere.sigma", "box.length"]

pytestmark = [
    pytest.mark.validation,
    pytest.mark.skipif(np.finfo(Long).eps > 1e-18, reason="this machine has no extended precision"),
]


def solve(matrix, right):
    """Return the solutions by Gaussian elimination with pivots: LAPACK has no extended precision."""
    a, b, n = matrix.copy(), right.copy(), len(matrix)
    for k in range(n):
        pivot = k + np.argmax(np.abs(a[k:, k]))
        a[[k, pivot]], b[[k, pivot]] = a[[pivot, k]], b[[pivot, k]]
        factor = a[k + 1 :, k] / a[k, k]
        a[k + 1 :] -= factor[:, None] * a[k]
        b[k + 1 :] -= factor[:, None] * b[k]
    found = np.zeros_like(b)
    for k in reversed(range(n)):
        found[k] = (b[k] - a[k, k + 1 :] @ found[k + 1 :]) / a[k, k]
    return found


def reference(relaxation, diameters):
    """Return dx/dp of the backbone, dU/dp and dP/dp in both diameters and the edge, from u = (1 - r/sigma)^2/2."""
    state, network = relaxation.state, relaxation.network
    kept = np.flatnonzero(network.backbone)
    number = np.cumsum(network.backbone) - 1
    i, j, images = number[network.i], number[network.j], network.shift.T.astype(Long)
    species = np.asarray(state.configuration.species)[kept]
    edge = Long(np.asarray(state.configuration.box.matrix)[0, 0])
    x = np.asarray(state.position)[kept].astype(Long)
    n, d = x.shape
    small = (0.5 * (species[i] == 0) + 0.5 * (species[j] == 0)).astype(Long)
    sigma = small * Long(diameters[0]) + (1 - small) * Long(diameters[1])

    def scattered(per_contact):
        field = np.zeros((n, d), Long)
        np.add.at(field, i, per_contact)
        np.add.at(field, j, -per_contact)
        return field.ravel()

    for _ in range(6):
        apart = x[i] - x[j] - edge * images
        r = np.sqrt((apart**2).sum(axis=1))
        normal, slope, curvature = apart / r[:, None], (r / sigma - 1) / sigma, 1 / sigma**2
        along = normal[:, :, None] * normal[:, None, :]
        blocks = curvature[:, None, None] * along + (slope / r)[:, None, None] * (np.eye(d, dtype=Long) - along)
        hessian = np.zeros((n, d, n, d), Long)
        for block, a, b in zip(blocks, i, j, strict=True):
            hessian[a, :, a] += block
            hessian[b, :, b] += block
            hessian[a, :, b] -= block
            hessian[b, :, a] -= block
        by_sigma = (1 - 2 * r / sigma) / sigma**2  # du'/dsigma
        slopes = [scattered((by_sigma * w)[:, None] * normal) for w in (small, 1 - small)]
        slopes.append(scattered(-(blocks @ images[:, :, None])[:, :, 0]))
        shifts = np.tile(np.eye(d, dtype=Long), (n, 1))
        bordered = np.block([[hessian.reshape(n * d, n * d), shifts], [shifts.T, np.zeros((d, d), Long)]])
        right = -np.stack([scattered(slope[:, None] * normal), *slopes], axis=1)
        found = solve(bordered, np.vstack([right, np.zeros((d, 4), Long)]))[: n * d].T.reshape(4, n, d)
        x = x + found[0]
    rates, volume = found[1:], edge**d
    push = -(slope * r).sum() / (d * volume)
    by_energy, by_pressure = [], []
    for rate, weight, stretch in zip(rates, (small, 1 - small, 0 * small), (0, 0, 1), strict=True):
        lengths = np.sum(normal * (rate[i] - rate[j] - stretch * images), axis=1)
        slope_rate = curvature * lengths + by_sigma * weight
        by_energy.append(np.sum((1 - r / sigma) * r / sigma**2 * weight + slope * lengths))
        by_pressure.append(-np.sum(slope_rate * r + slope * lengths) / (d * volume) - stretch * d * push / edge)
    return rates, np.array(by_energy), np.array(by_pressure)


def found_errors():
    """Return true and estimated errors of every kind of answer, over some packings."""
    found = {}

    def add(kind, values, exact, estimates):
        true = np.abs(values.astype(Long) - exact).astype(float)
        true = np.linalg.norm(true.reshape(len(true), -1), axis=1)
        found.setdefault(kind, []).extend(zip(true, estimates, strict=True))

    for seed in SEEDS:
        start = bidisperse.build(bidisperse.Options(n_particles=16, packing_fraction=1.0, seed=seed))
        relaxation = relax(SoftSphere(PerSpecies(start.diameters), Uniform(1.0)), start.configuration)
        assert relaxation.verdict is Verdict.CONVERGED
        response, selection = linear_response(relaxation), select(relaxation.state, PATHS)
        rates, by_energy, by_pressure = reference(relaxation, np.asarray(start.diameters))
        positions = position_sensitivity(response, selection)
        add("positions", positions.values[:, relaxation.network.backbone], rates, positions.certificate.error)
        for at_hand in (positions, None):
            named = {"energy": energy, "pressure": pressure}
            answers = observable_sensitivities(response, named, selection, positions=at_hand)
            for answer, exact in zip(answers, (by_energy, by_pressure), strict=True):
                add(f"{answer.name}, {answer.way}", answer.values, exact, answer.certificate.error)
    return {kind: np.array(pairs) for kind, pairs in found.items()}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """Return them as a process of its own finds them, which compiles as users' programs do."""
    path, root = tmp_path_factory.mktemp("errors") / "errors.npz", str(Path(__file__).parents[2])
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    changes = {"PYTHONPATH": root, "JAX_ENABLE_X64": "1"}
    subprocess.run([sys.executable, __file__, str(path)], env=own | changes, check=True)
    with np.load(path) as file:
        return dict(file)


KINDS = ["positions", *(f"{name}, {way}" for name in ("energy", "pressure") for way in ("forward", "adjoint"))]


@pytest.mark.parametrize("kind", KINDS)
def test_estimated_errors_are_neither_too_small_nor_inflated(errors, kind):
    true, estimated = errors[kind].T
    assert true.max() < 1e-10
    ratio = estimated / np.maximum(true, 1e-300)
    assert np.median(ratio) <= 10, f"median {np.median(ratio):.3g}"
    assert np.mean(ratio > 0.3) >= 0.9, f"smallest {ratio.min():.3g}"


if __name__ == "__main__":
    np.savez(sys.argv[1], **found_errors())
