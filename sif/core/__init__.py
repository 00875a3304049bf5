"""The language of search methods and spaces: gates, projection, probes, protocols; torch alone."""
