"""Names of entrants: methods, and published designs."""

from __future__ import annotations

from sif.tasks.entrants import entrants


def test_a_name_of_both_is_the_method_that_searches_and_the_published_baseline() -> None:
    published = {"enas": "the cell"}
    found = entrants("enas", ["enas", "darts-1"], None, published, lambda genotype: genotype)
    assert found.methods == {"searched": "enas", "darts-1": "darts-1"}
    assert found.given == published
    again = entrants("nasp", ["nasp", "enas"], None, published, lambda genotype: genotype)
    assert again.methods == {"searched": "nasp"} and again.given == published
