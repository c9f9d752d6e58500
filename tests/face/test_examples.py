"""The examples in the face's docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import mdsens.face

MODULES = [module.name for module in pkgutil.walk_packages(mdsens.face.__path__, "mdsens.face.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_as_they_are_printed(name):
    done = doctest.testmod(importlib.import_module(name))
    assert not done.failed


def test_what_is_asked_first_has_an_example():
    for name in ("relax", "fit", "load", "verify"):
        assert ">>>" in getattr(mdsens.face, name).__doc__
