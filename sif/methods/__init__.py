"""Search methods behind one protocol (`sif.core.method.Method`)."""
