"""Search spaces behind one protocol (`sif.core.space.Space`)."""
