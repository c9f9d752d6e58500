"""What a machine is asked for besides numbers: memory, room for compiled programs, parts of jax-md, a screen."""
