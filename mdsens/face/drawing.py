"""Packings drawn from their records."""

from __future__ import annotations

from typing import Any

from mdsens.io.stored import StoredRun


def drawn(run: StoredRun, k: int | None) -> Any:
    """Draw a packing, with the arrows of its k-th parameter if there is one."""
    from mdsens.plotting.packing import draw_packing
    from mdsens.plotting.slab import draw_slab
    from mdsens.plotting.stored import arrows_of, packing_of

    packing = packing_of(run)
    draw = draw_packing if packing.dimension == 2 else draw_slab
    return draw(packing) if k is None else draw(packing, arrows_of(run, k))
