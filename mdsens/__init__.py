"""Exact, certified derivatives of relaxed configurations with respect to the parameters of their potential.

The way through the package is a straight line: a configuration and a potential are relaxed, the relaxed state's linear
response is built once, and every sensitivity comes from it with a certificate. Importing this package imports no room:
name the room you need, as in ``from mdsens.relaxation import relax``. Numerical rooms need float64
(``jax.config.update("jax_enable_x64", True)`` before the first array is made).
"""

__version__ = "0.1.0"
