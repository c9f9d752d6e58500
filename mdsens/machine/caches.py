"""Where compiled programs are kept from one run to the next: JAX's, and the machine code of laws beside them."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from pathlib import Path

import jax


def keep_programs() -> None:
    """Switch JAX's persistent cache on, in the folder of this kind of processor, where that can be written.

    A folder that was chosen before, in JAX's configuration or by ``JAX_COMPILATION_CACHE_DIR``, stays. Where JAX was
    imported before it could be told to be silent, there is none: jax 0.10's XLA logs "prefer-no-gather is not
    supported", wrongly, for every program that it takes from the cache.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) or os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        return
    folder = _writable(cache_folder())
    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # a sensitivity takes some fifty programs, most of them of 20 ms
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cache_folder() -> Path:
    """Return the cache's folder, one per kind of processor: homes are shared, compiled programs are not portable."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen:
        return Path(chosen)
    try:
        features = re.findall(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[:1]
    except OSError:
        features = []
    machine = " ".join([platform.machine(), *features])
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "mdsens" / "jax" / hashlib.sha256(machine.encode()).hexdigest()[:12]


def code_folder() -> Path | None:
    """Return the folder of the machine code of laws, within JAX's cache; None where none can be made."""
    return _writable(cache_folder() / "laws")


def _writable(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
