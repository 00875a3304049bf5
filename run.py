"""Starts the command line from a checkout: `python run.py ...` is `sif ...`."""

from sif.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
