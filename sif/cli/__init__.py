"""The command line: the commands of `sif`, their arguments, messages and exit codes."""
