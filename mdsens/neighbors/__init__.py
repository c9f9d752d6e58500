"""Who interacts: pairs with images, listed on the host or inside compiled code, and the order that keeps them close."""

from mdsens.neighbors.cells import Grid, compiled_pairs, grid_for, spatial_order
from mdsens.neighbors.centres import about_centres
from mdsens.neighbors.dense import jax_md_neighbors
from mdsens.neighbors.pairs import (
    SMALL,
    PairList,
    in_order,
    no_pairs,
    numbered_pairs,
    on_device,
    padded_pairs,
    pair_components,
    pair_distances,
    pair_shifts,
    standard_capacity,
)
from mdsens.neighbors.search import check_range, every_pair, heights, layers_within, neighbor_pairs, smallest_height

__all__ = [
    "SMALL",
    "Grid",
    "PairList",
    "about_centres",
    "check_range",
    "compiled_pairs",
    "every_pair",
    "grid_for",
    "heights",
    "in_order",
    "jax_md_neighbors",
    "layers_within",
    "neighbor_pairs",
    "no_pairs",
    "numbered_pairs",
    "on_device",
    "padded_pairs",
    "pair_components",
    "pair_distances",
    "pair_shifts",
    "smallest_height",
    "spatial_order",
    "standard_capacity",
]
