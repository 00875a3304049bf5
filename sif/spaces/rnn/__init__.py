"""Cells of recurrent networks: supernet, language models of given cells, LSTM."""
