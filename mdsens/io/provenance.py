"""Where a result comes from: configuration, versions, commit, device, seed, times and result codes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

import mdsens
from mdsens.io.hdf5 import write_attributes, write_text
from mdsens.io.reading import attributes, child, damage, read_attributes, text

_PACKAGES = ("jax", "jaxlib", "jax-md", "equinox", "numpy", "scipy", "h5py")
_SOURCES = ("mdsens", "potentials", "systems", "workflows")
_UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Everything needed to say how a result came about, and to make it again.

    Attributes:
        config_text: The TOML as given; empty when the result was made from Python.
        resolved: The TOML as resolved: the file, overrides and defaults.
        versions: Version of every package that matters, by name, and of Python.
        commit: Git commit of the mdsens source tree; "unknown" outside one.
        dirty: "yes" when sources differed from that commit, "no", or "unknown".
        code: Hash of the Python sources that computed: the same code has the same, committed or not.
        device: Kind and platform of the first JAX device, and the machine's architecture.
        x64: Whether JAX computed in 64 bits.
        seed: Seed of the random numbers.
        seconds: Wall time of every stage, by name, seconds.
        results: Result code of every stage, by name, such as ``relaxation: converged``.
        created: When it was collected, UTC, ISO 8601.
    """

    config_text: str
    resolved: str
    versions: Mapping[str, str]
    commit: str
    dirty: str
    code: str
    device: str
    x64: bool
    seed: int
    seconds: Mapping[str, float]
    results: Mapping[str, str]
    created: str


def collect(
    config_text: str,
    resolved: str,
    seed: int,
    seconds: Mapping[str, float],
    results: Mapping[str, str] | None = None,
) -> Provenance:
    """Describe this process as the origin of a result.

    Args:
        config_text: The TOML as given.
        resolved: The TOML as resolved.
        seed: Seed of the random numbers.
        seconds: Wall time of every stage, by name.
        results: Result code of every stage, by name; a relaxed state's verdict is added when it is written.

    Returns:
        The provenance.
    """
    commit, dirty = _commit(Path(mdsens.__file__).resolve())
    first = jax.devices()[0]
    return Provenance(
        config_text=config_text,
        resolved=resolved,
        versions=_versions(),
        commit=commit,
        dirty=dirty,
        code=code_hash(),
        device=f"{first.device_kind} ({first.platform}), {platform.machine()}",
        x64=bool(jax.config.read("jax_enable_x64")),
        seed=seed,
        seconds=dict(seconds),
        results=dict(results or {}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@functools.cache
def code_hash() -> str:
    """Return a hash of the sources of the packages that compute: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for package in _SOURCES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for source in sorted(Path(folder).rglob("*.py")):
                found.update(source.relative_to(folder).as_posix().encode() + b"\0" + source.read_bytes())
    return found.hexdigest()[:16]


@functools.cache
def _versions() -> dict[str, str]:
    found = {"mdsens": mdsens.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = _UNKNOWN
    return found


@functools.cache
def _commit(source: Path) -> tuple[str, str]:
    """Return commit and dirty flag of the tree that tracks ``source``; unknown for a copy that no tree tracks."""
    root = source.parents[1]
    try:
        _git(root, "ls-files", "--error-unmatch", str(source))
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", *_SOURCES)
    except (OSError, subprocess.SubprocessError):
        return _UNKNOWN, _UNKNOWN
    return commit, "yes" if changes else "no"


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def write_provenance(file: Any, provenance: Provenance) -> None:
    """Store a provenance as the group ``/provenance`` of an open HDF5 file."""
    group = file.create_group("provenance")
    fields = dataclasses.asdict(provenance)
    for name in ("config_text", "resolved"):
        write_text(group, name, fields.pop(name))
    for name in ("versions", "seconds", "results"):
        write_attributes(group.create_group(name), fields.pop(name))
    write_attributes(group, fields)


def read_provenance(file: Any) -> Provenance:
    """Read what ``write_provenance`` stored."""
    group = child(file, "provenance")
    texts: dict[str, Any] = {name: text(group, name) for name in ("config_text", "resolved")}
    tables: dict[str, Any] = {name: read_attributes(child(group, name)) for name in ("versions", "seconds", "results")}
    for name, kind in (("versions", str), ("seconds", float), ("results", str)):
        wrong = [key for key, value in tables[name].items() if not isinstance(value, kind)]
        if wrong:
            raise damage(group, f"{name}@{wrong[0]}", "of another type")
    words = dict.fromkeys(("commit", "dirty", "code", "device", "created"), ("U", ()))
    return Provenance(**texts, **tables, **attributes(group, {**words, "x64": ("b", ()), "seed": ("i", ())}))
