"""Text for language models: read or generated, numbered, streamed."""
