"""What a machine is asked for besides numbers: room for compiled programs, parts of jax-md, a screen for progress."""
