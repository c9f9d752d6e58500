"""The suite "large" of the benchmark: relaxations beside LAMMPS, responses from a thousand to a million particles.

Every measurement runs in a process of its own (``measure``), so that its peak memory and its first call are its own and
a crash costs one measurement; each is stored as soon as it is done.
"""
