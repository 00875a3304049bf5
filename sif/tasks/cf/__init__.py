"""The job on interactions."""
