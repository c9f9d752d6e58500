"""What all tests share: float64, shapes checked at run time, no display, and GPU tests only where there is a GPU."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before JAX and matplotlib are imported, here and in the processes that tests start.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does
# Nearly all time goes into compiling: what one process has compiled, the others and the next run take from here.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Systems are small and programs run a few times: compiling them lightly saves a third of its time. What users' programs
# take is measured in benchmarks/. (Without optimisation, level 0, the old emitters make programs that are wrong.)
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false")

import jax
from jaxtyping import install_import_hook

_CACHE_SIZE = 4_000_000_000  # bytes, after which the cache begins anew
gc.set_threshold(50_000, 20, 20)  # tracing makes many objects that live: collecting takes a twentieth of the time
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)  # so that batches are split; all else runs on the first one
# Annotated shapes and types are checked at every call; only modules imported after this line are.
install_import_hook(["mdsens", "potentials", "systems"], "beartype.beartype")


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    if cache.exists() and sum(file.stat().st_size for file in cache.iterdir()) > _CACHE_SIZE:
        shutil.rmtree(cache)


@pytest.fixture(autouse=True, scope="module")
def few_compiled_programs() -> Iterator[None]:
    """Drop compiled programs when there are many: each maps memory, and Linux ends a process with 65 530 such maps."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any(device.platform == "gpu" for device in jax.devices()):
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="JAX finds no GPU"))
