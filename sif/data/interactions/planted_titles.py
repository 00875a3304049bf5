"""Titles of generated items that a person recognizes: films, each of a genre.

The words are our own. No film is meant; one of the same name is a coincidence.
"""

from __future__ import annotations

import numpy as np

GENRES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "western": (
        ("Dusty", "Lonesome", "Crooked", "Burning", "Last", "Copper", "Wild"),
        ("Saddle", "Canyon", "Sheriff", "Stagecoach", "Prairie", "Ranch", "Rider"),
    ),
    "sea": (
        ("Silent", "Salty", "Drifting", "Northern", "Sunken", "Grey", "Distant"),
        ("Harbor", "Lighthouse", "Captain", "Lagoon", "Anchor", "Schooner", "Tide"),
    ),
    "space": (
        ("Orbital", "Frozen", "Seventh", "Stellar", "Hollow", "Outer", "Weightless"),
        ("Moon", "Station", "Comet", "Colony", "Signal", "Planet", "Astronaut"),
    ),
    "crime": (
        ("Perfect", "Midnight", "Unsigned", "Stolen", "Double", "Quiet", "Marked"),
        ("Alibi", "Detective", "Ransom", "Witness", "Heist", "Ledger", "Suspect"),
    ),
    "romance": (
        ("Tender", "Second", "Summer", "Secret", "Parisian", "Unsent", "Borrowed"),
        ("Letter", "Waltz", "Wedding", "Kiss", "Promise", "Bouquet", "Sweetheart"),
    ),
    "haunted": (
        ("Whispering", "Buried", "Pale", "Cursed", "Thirteenth", "Locked", "Rotten"),
        ("Cellar", "Ghost", "Manor", "Crypt", "Doll", "Mirror", "Scarecrow"),
    ),
    "royal": (
        ("Young", "Forgotten", "Golden", "Exiled", "Iron", "Proud", "Scarlet"),
        ("Queen", "Castle", "Duchess", "Crown", "Knight", "Throne", "Herald"),
    ),
    "sport": (
        ("Final", "Muddy", "Barefoot", "Underdog", "Extra", "Fearless", "Rusty"),
        ("Inning", "Goalkeeper", "Sprint", "Boxer", "Coach", "Trophy", "Marathon"),
    ),
    "kitchen": (
        ("Sweet", "Spicy", "Hungry", "Buttered", "Sunday", "Bitter", "Generous"),
        ("Bakery", "Recipe", "Chef", "Banquet", "Pepper", "Dumpling", "Orchard"),
    ),
    "jungle": (
        ("Green", "Endless", "Roaring", "Lost", "Steaming", "Tangled", "Sacred"),
        ("Temple", "Tiger", "River", "Expedition", "Parrot", "Idol", "Monsoon"),
    ),
}
"""Genre to first and second words: 49 titles each, before years make more."""
YEARS = 1950, 2020
"""Years of release, from and to, the second excluded."""


def film_titles(genres: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Draws a title for each item, such as "The Silent Harbor (1994)"; no two are alike.

    Args:
        genres: (n_items,) numbers into `GENRES`.
        rng: Of the draws.
    """
    words = list(GENRES.values())
    taken: set[str] = set()
    titles = []
    for genre in genres.tolist():
        title = ""
        while not title or title in taken:
            first, second = (str(rng.choice(part)) for part in words[genre])
            title = f"The {first} {second} ({rng.integers(*YEARS)})"
        taken.add(title)
        titles.append(title)
    return titles
