"""Sensitivities through energies that are no pair laws, against re-relaxed states: coloured and matrix-free."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import energy as jax_md_energy
from jax_md import partition, space

from mdsens.energy import Locality, energy
from mdsens.energy.foreign import EnergyFunction
from mdsens.energy.jax_md import from_jax_md, from_jax_md_neighbors
from mdsens.energy.paths import select
from mdsens.hessian import any_energy
from mdsens.hessian.derivatives import drifts
from mdsens.hessian.matrix_free import MatrixFree
from mdsens.relaxation import RelaxationSettings, relax
from mdsens.response import known_zero_modes, linear_response
from mdsens.response.null_space import project_out
from mdsens.results import check
from mdsens.sensitivity import observable_sensitivity, position_sensitivity
from mdsens.types import Configuration, FreeBox, PeriodicBox, replaced

CUTOFF = 1.75
STEP = 1e-5  # relative: truncation 1e-10, noise 1e-13 / 1e-5


def vacancy():
    """Return a face-centred cubic crystal of Morse atoms, by jax-md, from which one is missing."""
    edge, corner = 1.41, np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    cells = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    position = edge * (cells + corner).reshape(-1, 3)[1:]
    position += 0.02 * np.random.default_rng(0).standard_normal(position.shape)
    displacement, _ = space.periodic(3 * edge, wrapped=False)

    def function(position, sigma, epsilon):
        return jax_md_energy.morse_pair(displacement, sigma=sigma, epsilon=epsilon, r_onset=1.2, r_cutoff=1.6)(position)

    params = {"sigma": 1.0, "epsilon": 0.02}  # curvatures of order one
    return from_jax_md(function, params, locality=Locality(1.6)), position, PeriodicBox.cubic(3 * edge, 3)


def cluster():
    """Return a free cluster of embedded atoms, by jax-md with listed neighbours."""

    def charge(r):
        return jnp.where(r < CUTOFF, (1 - (r / CUTOFF) ** 2) ** 4, 0.0)

    def function(position, neighbor, strength, repulsion):
        _, energy_fn = jax_md_energy.eam_neighbor_list(
            space.free()[0],
            20.0,
            charge,
            lambda total: -strength * jnp.sqrt(total),
            lambda r: repulsion * charge(r) / jnp.where(r > 0, r, 1.0) ** 4,
            CUTOFF,
            format=partition.Dense,
        )
        return energy_fn(position, neighbor)

    params, locality = {"strength": 1.5, "repulsion": 2.0}, Locality(CUTOFF, hops=2)
    potential = from_jax_md_neighbors(function, params, locality, max_neighbors=20, with_self=True)
    position = np.stack(np.meshgrid(*[np.arange(3.0)] * 2, np.arange(2.0)), axis=-1).reshape(-1, 3)
    position += 0.05 * np.random.default_rng(0).standard_normal(position.shape)
    return potential, position, FreeBox(3)


@pytest.fixture(scope="module", params=[vacancy, cluster])
def relaxation(request):
    potential, position, box = request.param()
    start = Configuration(jnp.asarray(position), jnp.zeros(len(position), int), box)
    found = relax(potential, start)
    check(found.verdict)
    return found


@pytest.fixture(scope="module")
def differences(relaxation):
    """Return dx/dp and dU/dp for every parameter from re-relaxed states."""
    state, settings, found = relaxation.state, RelaxationSettings(max_force=1e-13), {}
    for name, value in state.potential.params.items():
        ends = []
        for sign in (1, -1):
            params = {**state.potential.params, name: value * (1 + sign * STEP)}
            ends.append(relax(replaced(state.potential, {"params": params}), state.configuration, settings))
        step = 2 * STEP * float(value)
        found[f"jax_md.{name}"] = (
            np.asarray(ends[0].state.position - ends[1].state.position) / step,
            (ends[0].energy - ends[1].energy) / step,
        )
    return found


@pytest.fixture(params=["coloured", "matrix-free"])
def response(request, relaxation):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdsens.hessian.matrix.SMALL", 0)
        if request.param == "matrix-free":
            patch.setattr(any_energy, "MOST_ENTRIES", 0)
        again = relax(relaxation.state.potential, relaxation.state.configuration)
        response = linear_response(again)
    assert isinstance(response.factor, MatrixFree) == (request.param == "matrix-free")
    return response


def test_positions_and_energy_change_as_re_relaxed_ones_do(relaxation, differences, response):
    selection = select(response.state)
    found = position_sensitivity(response, selection)
    heights = observable_sensitivity(response, energy, selection)
    assert found.certificate.residual.max() < 1e-11
    free = isinstance(response.state.configuration.box, FreeBox)
    assert response.zero_modes.rotations == (3 if free else 0)
    modes, _, _ = known_zero_modes(np.asarray(response.state.position), response.state.configuration.box)
    for path, p, value, height in zip(found.paths, selection.values, found.values, heights.values, strict=True):
        moved, raised = (p * part for part in differences[path])  # per relative change of the parameter
        error = np.linalg.norm(project_out(modes, moved.ravel()) - p * value.ravel())
        assert error < 1e-6 * max(p * np.linalg.norm(value), 0.1), path
        assert p * height == pytest.approx(raised, rel=1e-7)
    assert max(selection.values * np.linalg.norm(found.values, axis=(1, 2))) > 0.1  # there is something to compare
    assert response.method.startswith("matrix-free MINRES" if isinstance(response.factor, MatrixFree) else "sparse ")


def test_the_smallest_eigenvalue_is_that_of_the_dense_matrix(relaxation, response):
    state = relaxation.state
    dense = jax.hessian(lambda x: energy(state.at(x, state.parameters)))(state.position)
    values = np.linalg.eigvalsh(np.asarray(dense).reshape(state.position.size, -1))
    modes = response.zero_modes.translations + response.zero_modes.rotations
    assert response.smallest_eigenvalue == pytest.approx(values[modes], rel=1e-4)


@pytest.mark.parametrize("n", [2, 40], ids=["spectrum", "factor"])
def test_errors_are_known_where_third_derivatives_are_no_numbers(n):
    def chain(position, params, box):
        r = jnp.linalg.norm(position[1:] - position[:-1], axis=1)
        nothing = jnp.maximum(0.2 - r, 0.0) ** params["alpha"]  # a third derivative is zero times infinity
        return jnp.sum(0.5 * params["k"] * (r - params["length"]) ** 2 + nothing) + 0.5 * jnp.sum(position**2)

    params = {"k": 3.0, "length": 1.1, "alpha": 2.0}
    position = np.stack([np.arange(n) - 0.5 * (n - 1), 0.01 * np.sin(np.arange(n))], axis=1)
    start = Configuration(jnp.asarray(position), jnp.zeros(n, int), FreeBox(2))
    found = relax(EnergyFunction(chain, params), start)
    response = linear_response(found)
    selection = select(found.state, ["energy_function.length"])
    along = (jnp.ones((1, n, 2)), jnp.zeros((1, 0)), start.position, jnp.zeros(0))
    assert np.isnan(float(drifts(found.state, selection.tangents, *along)[-1]))  # what the estimate would be made of
    certificate = position_sensitivity(response, selection).certificate
    assert 0 < certificate.relative_error[0] < 1e-13
