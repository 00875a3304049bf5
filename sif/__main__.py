"""`python -m sif`, the command line."""

from sif.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
