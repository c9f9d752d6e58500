"""Many systems at once: members that run in parallel, each kept in its own file, so that long work can resume."""

from mdsens.sweep.members import Record, default_workers, note_manifest, run_members, stored_members
from mdsens.sweep.statistics import mean_and_error

__all__ = ["Record", "default_workers", "mean_and_error", "note_manifest", "run_members", "stored_members"]
