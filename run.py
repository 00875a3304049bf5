"""Starts the command line from a checkout: `python run.py ...` is `sif ...`."""

from sif.cli.start import start

if __name__ == "__main__":
    raise SystemExit(start())
