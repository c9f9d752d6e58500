"""Compiled programs are kept where that is possible, and nothing fails where it is not."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from mdsens.machine.caches import cache_folder, code_folder, keep_programs

DIRECTORY, LEAST = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, object]]:
    """What is changed of JAX's configuration, in which no cache has been chosen."""
    before = jax.config.jax_compilation_cache_dir
    made: dict[str, object] = {}
    jax.config.update(DIRECTORY, None)
    monkeypatch.setattr(jax.config, "update", made.__setitem__)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    yield made
    monkeypatch.undo()
    jax.config.update(DIRECTORY, before)


def test_programs_are_kept_in_the_folder_of_the_processor(changes, tmp_path):
    keep_programs()
    assert changes == {DIRECTORY: str(cache_folder()), LEAST: 0.0}
    assert cache_folder().parent == tmp_path / "mdsens" / "jax"
    assert cache_folder().is_dir()
    assert code_folder() == cache_folder() / "laws"


def test_another_folder_may_be_chosen(changes, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    keep_programs()
    assert changes[DIRECTORY] == str(tmp_path / "mine")


def test_nothing_is_kept_where_no_folder_can_be_made(changes, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "cache"))
    keep_programs()
    assert changes == {}
    assert code_folder() is None


def test_nothing_is_kept_where_jax_would_log_every_program(changes, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    keep_programs()
    assert changes == {}
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
