"""``mdsens benchmark CONFIG.toml``: measure accuracy and speed beside jaxopt in one run, print and keep the table."""

from workflows.benchmark.run import run

__all__ = ["run"]
