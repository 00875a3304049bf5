"""`python -m sif`, the command line."""

from sif.cli.start import start

if __name__ == "__main__":
    raise SystemExit(start())
