"""The job on interactions: inputs, study, figures of splits and functions."""
