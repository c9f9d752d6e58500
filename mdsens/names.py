"""What terms of a potential may be called: the paths of their parameters begin with their names."""

from __future__ import annotations

import re

OF_STATE = ("box", "held", "pressure")  # what paths of parameters begin with that are no law's
TERM_RULE = (
    "a name has at most 50 letters, digits and underscores, begins with none of the digits, and is none of "
    + ", ".join(f'"{name}"' for name in OF_STATE)
)
_TERM = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")


def is_term_name(name: object) -> bool:
    """Return whether paths of parameters can begin with a name and mean a term by it."""
    return isinstance(name, str) and _TERM.fullmatch(name) is not None and name not in OF_STATE
