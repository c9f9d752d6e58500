"""Results in HDF5 (H5MD), starts from files, and exports for viewers: the only room that knows file formats."""

from mdsens.io.hdf5 import kind_of
from mdsens.io.provenance import Provenance, collect
from mdsens.io.run import Run, no_sensitivity, write_run
from mdsens.io.stored import StoredRun, read_run, restored_params

__all__ = [
    "Provenance",
    "Run",
    "StoredRun",
    "collect",
    "kind_of",
    "no_sensitivity",
    "read_run",
    "restored_params",
    "write_run",
]
