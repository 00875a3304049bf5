"""Search methods behind one protocol (`sif.methods.base.Method`)."""
