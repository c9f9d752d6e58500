"""The two ways in which a request can fail, each carrying one sentence for the person who made it."""

from __future__ import annotations


class UserError(ValueError):
    """Refuse an input; the message names the offending value, what is allowed and the remedy.

    The command prints the message alone and exits with code 2.
    """


class NumericalError(RuntimeError):
    """Report that a computation on valid input failed: not converged, not finite, unjammed, linear solve failed.

    The command prints the message alone and exits with code 1.
    """
