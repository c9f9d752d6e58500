"""Verdicts and their sentences."""

import pytest

from mdsens.errors import NumericalError
from mdsens.results import Verdict, check


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_owns_one_sentence(verdict):
    assert verdict.sentence.endswith(".")
    assert verdict.sentence.count(". ") == 0
    assert len({other.sentence for other in Verdict}) == len(Verdict)


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.CONVERGED])
def test_a_bad_verdict_raises_its_sentence(verdict):
    with pytest.raises(NumericalError, match="stage one: ") as caught:
        check(verdict, what="stage one")
    assert verdict.sentence in str(caught.value)


def test_a_good_verdict_passes():
    check(Verdict.CONVERGED)


def test_stationary_verdicts_are_those_whose_forces_vanish():
    assert {verdict for verdict in Verdict if verdict.stationary} == {
        Verdict.CONVERGED,
        Verdict.SADDLE,
        Verdict.UNJAMMED,
    }
