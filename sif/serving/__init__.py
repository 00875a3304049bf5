"""An HTTP server of a saved recommender: `sif serve` (docs/how-to/http-server.md)."""
