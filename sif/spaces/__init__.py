"""Search spaces behind one protocol (`sif.spaces.base.Space`)."""
