"""Modules of jax-md beside the package: quick, and without a trace in what the program imports later."""

import subprocess
import sys

PROGRAM = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
from mdsens.machine.jax_md import part
jax.jit(lambda x: part("minimize") and x)(1.0)  # first needed inside a trace
minimize = part("minimize")
assert not [name for name in sys.modules if name.split(".")[0] in ("jax_md", "flax")]
import jax_md
assert jax_md.quantity.force and jax_md.energy.lennard_jones
assert jax_md.minimize is not minimize and part("minimize") is minimize
assert part("simulate") is jax_md.simulate
assert not [leaf for leaf in jax.tree.leaves(jax_md.rigid_body.square) if isinstance(leaf, jax.core.Tracer)]
"""


def test_a_part_is_no_import_of_the_package():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
