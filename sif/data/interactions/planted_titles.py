"""Titles of generated items that a person recognizes: films, each of a genre.

The words are our own. No film is meant; one of the same name is a coincidence.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_WORDS = {
    "western": (
        "Dusty Lonesome Crooked Burning Last Copper Wild",
        "Saddle Canyon Sheriff Stagecoach Prairie Ranch Rider",
    ),
    "sea": (
        "Silent Salty Drifting Northern Sunken Grey Distant",
        "Harbor Lighthouse Captain Lagoon Anchor Schooner Tide",
    ),
    "space": (
        "Orbital Frozen Seventh Stellar Hollow Outer Weightless",
        "Moon Station Comet Colony Signal Planet Astronaut",
    ),
    "crime": (
        "Perfect Midnight Unsigned Stolen Double Quiet Marked",
        "Alibi Detective Ransom Witness Heist Ledger Suspect",
    ),
    "romance": (
        "Tender Second Summer Secret Parisian Unsent Borrowed",
        "Letter Waltz Wedding Kiss Promise Bouquet Sweetheart",
    ),
    "haunted": (
        "Whispering Buried Pale Cursed Thirteenth Locked Rotten",
        "Cellar Ghost Manor Crypt Doll Mirror Scarecrow",
    ),
    "royal": (
        "Young Forgotten Golden Exiled Iron Proud Scarlet",
        "Queen Castle Duchess Crown Knight Throne Herald",
    ),
    "sport": (
        "Final Muddy Barefoot Underdog Extra Fearless Rusty",
        "Inning Goalkeeper Sprint Boxer Coach Trophy Marathon",
    ),
    "kitchen": (
        "Sweet Spicy Hungry Buttered Sunday Bitter Generous",
        "Bakery Recipe Chef Banquet Pepper Dumpling Orchard",
    ),
    "jungle": (
        "Green Endless Roaring Lost Steaming Tangled Sacred",
        "Temple Tiger River Expedition Parrot Idol Monsoon",
    ),
}
GENRES = {genre: (firsts.split(), seconds.split()) for genre, (firsts, seconds) in _WORDS.items()}
"""Genre to first and second words: 49 titles each, before years make more."""
YEARS = 1950, 2020
"""Years of release, from and to, the second excluded."""


def film_titles(genres: npt.NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """Draws a title for each item, such as "The Silent Harbor (1994)"; no two are alike.

    A name comes twice, as of another year, only once all names of its genre are taken.

    Args:
        genres: (n_items,) numbers into `GENRES`.
        rng: Of the draws.
    """
    names = [
        rng.permutation([f"{first} {second}" for first in firsts for second in seconds])
        for firsts, seconds in GENRES.values()
    ]
    taken = [0] * len(names)
    titles: dict[str, None] = {}
    for genre in genres.tolist():
        name, title = names[genre][taken[genre] % len(names[genre])], ""
        taken[genre] += 1
        while not title or title in titles:
            title = f"The {name} ({rng.integers(*YEARS)})"
            if taken[genre] > len(names[genre]) * (YEARS[1] - YEARS[0]) // 2:  # years run out
                title = f"The {name} {taken[genre]} ({rng.integers(*YEARS)})"
        titles[title] = None
    return list(titles)
