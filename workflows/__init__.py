"""One thin script per question: TOML in, HDF5 and figures out. Run them with the ``mdsens`` command."""
