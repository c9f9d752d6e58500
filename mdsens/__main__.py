"""``python -m mdsens``: the command ``mdsens``."""

from workflows.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
