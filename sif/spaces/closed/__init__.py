"""Item-item models of histories as sets, in closed form: EASE, graph filters, shrunk spectra."""
