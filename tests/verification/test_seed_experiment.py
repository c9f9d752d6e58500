"""A part of the seed experiment: every jammed start is right, far from jamming and near it."""

import numpy as np
import pytest

from mdsens.energy.paths import select
from mdsens.errors import NumericalError
from mdsens.relaxation import relax
from mdsens.response import linear_response
from mdsens.results import Verdict
from mdsens.sensitivity import position_sensitivity, pull_back
from mdsens.verification import compare_with_differences, dense_reference
from potentials import soft_sphere
from systems import bidisperse


@pytest.mark.validation
@pytest.mark.slow
@pytest.mark.parametrize(("packing_fraction", "tolerance"), [(0.98, 1e-5), (0.86, 2e-5)])
def test_every_jammed_start_is_right_and_only_unjammed_ones_are_refused(packing_fraction, tolerance):
    answered = 0
    for seed in range(6):
        start = bidisperse.build(bidisperse.Options(packing_fraction=packing_fraction, seed=seed))
        law = soft_sphere.build(soft_sphere.Options(), start.diameters, 2)
        relaxation = relax(law, start.configuration)
        if relaxation.verdict is not Verdict.CONVERGED:
            assert relaxation.verdict is Verdict.UNJAMMED, seed
            with pytest.raises(NumericalError):
                linear_response(relaxation)
            continue
        response, selection = linear_response(relaxation), select(relaxation.state, ["soft_sphere.sigma[A]"])
        sensitivity = position_sensitivity(response, selection)
        value = sensitivity.values[0]
        reference = dense_reference(response.state, response.network, selection.tangents)[0]
        assert np.linalg.norm(value - reference) <= 1e-9 * np.linalg.norm(reference), seed
        (difference,) = compare_with_differences(response, relaxation, sensitivity, selection)
        assert difference.agrees(tolerance), (seed, difference)
        for cotangent in cotangents(value.shape, seed):
            adjoint = selection.contract(pull_back(response, cotangent))[0]
            assert abs(adjoint - np.vdot(cotangent, value)) <= 1e-10 * np.linalg.norm(cotangent) * np.linalg.norm(value)
        translation = np.broadcast_to([1.0, -2.0], value.shape)
        drift = selection.contract(pull_back(response, translation))[0]
        assert abs(drift) < 1e-10 * np.linalg.norm(translation)
        answered += 1
    assert answered >= 5  # six at 0.98; at 0.86 hardly any start is unjammed


def cotangents(shape, seed):
    """A random and a one-hot cotangent."""
    generator = np.random.default_rng(seed)
    one_hot = np.zeros(shape)
    one_hot[generator.integers(shape[0]), 0] = 1.0
    return generator.standard_normal(shape), one_hot
