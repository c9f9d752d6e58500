"""Results in HDF5 (H5MD), starts from files, and exports for viewers: the only room that knows file formats."""

from mdsens.io.ase import from_atoms
from mdsens.io.comparison import ROUNDING, Comparison, Expectation, compare, file_leaves, run_leaves, tables_leaves
from mdsens.io.exports import export_extxyz, export_gsd, to_atoms
from mdsens.io.h5md import sensitivity_names
from mdsens.io.hdf5 import kind_of
from mdsens.io.pressure import StoredPressure
from mdsens.io.provenance import Provenance, collect
from mdsens.io.reading import fitting_together
from mdsens.io.replacing import write_plain
from mdsens.io.restoring import restored_potential, restored_settings
from mdsens.io.run import KIND, Run, no_sensitivity, particle_diameters, write_run
from mdsens.io.starts import read_configuration
from mdsens.io.stored import StoredRun, read_run
from mdsens.io.summary import summary
from mdsens.io.tables import Groups, Tables, member_path, read_tables, write_tables, write_virtual

__all__ = [
    "KIND",
    "ROUNDING",
    "Comparison",
    "Expectation",
    "Groups",
    "Provenance",
    "Run",
    "StoredPressure",
    "StoredRun",
    "Tables",
    "collect",
    "compare",
    "export_extxyz",
    "export_gsd",
    "file_leaves",
    "fitting_together",
    "from_atoms",
    "kind_of",
    "member_path",
    "no_sensitivity",
    "particle_diameters",
    "read_configuration",
    "read_run",
    "read_tables",
    "restored_potential",
    "restored_settings",
    "run_leaves",
    "sensitivity_names",
    "summary",
    "tables_leaves",
    "to_atoms",
    "write_plain",
    "write_run",
    "write_tables",
    "write_virtual",
]
