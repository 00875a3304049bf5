"""Cells of recurrent networks: supernets, language models, recommenders of histories, LSTM."""
