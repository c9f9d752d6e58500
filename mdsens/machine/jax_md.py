"""Single modules of jax-md without the rest of the package, which takes ten seconds to import.

``import jax_md`` loads flax, neural networks and rigid bodies, which compile some 130 small programs on the way. Its
integrators and minimisers need none of them.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
import types
from typing import Any

_NAME = "jax_md"
_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def part(name: str) -> Any:
    """Return a module of jax-md, such as "minimize".

    Where the program has imported jax-md, the module is its own. Otherwise it is a copy that stands beside the package:
    a later ``import jax_md`` loads everything as if nothing had been.

    Args:
        name: Name of the module within the package.

    Raises:
        ModuleNotFoundError: When jax-md is not installed or has no such module.
    """
    with _ONE_AT_A_TIME:
        if _NAME in sys.modules:
            return importlib.import_module(f"{_NAME}.{name}")
        spec = importlib.util.find_spec(_NAME)
        if spec is None:
            raise ModuleNotFoundError("mdsens needs jax-md: pip install jax-md")
        shell = types.ModuleType(_NAME)
        shell.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[_NAME] = shell
        try:
            return importlib.import_module(f"{_NAME}.{name}")
        finally:
            for loaded in [module for module in sys.modules if module.split(".")[0] == _NAME]:
                del sys.modules[loaded]
