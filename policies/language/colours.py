"""Colour words, and the basic colours that they name: Berlin & Kay's eleven ("Basic Color Terms", 1969) and cyan."""

from __future__ import annotations

SHADES: dict[str, tuple[str, ...]] = {
    "red": (
        "red",
        "reddish",
        "crimson",
        "scarlet",
        "maroon",
        "burgundy",
        "cherry",
        "brick-red",
        "dark red",
        "bright red",
    ),
    "green": (
        "green",
        "greenish",
        "emerald",
        "olive",
        "lime",
        "mint",
        "forest green",
        "dark green",
        "light green",
        "jade",
    ),
    "blue": (
        "blue",
        "bluish",
        "navy",
        "azure",
        "indigo",
        "sky blue",
        "navy blue",
        "dark blue",
        "light blue",
        "sapphire",
        "cobalt",
    ),
    "yellow": (
        "yellow",
        "yellowish",
        "lemon",
        "golden",
        "canary",
        "amber",
        "bright yellow",
        "pale yellow",
        "mustard",
        "gold",
    ),
    "purple": ("purple", "violet", "lilac", "mauve", "lavender", "magenta", "dark purple", "light purple", "plum"),
    "orange": ("orange", "tangerine", "apricot", "peach", "bright orange"),
    "pink": ("pink", "rose", "salmon", "fuchsia", "hot pink", "light pink"),
    "brown": ("brown", "tan", "beige", "chestnut", "chocolate", "bronze"),
    "white": ("white", "ivory", "cream", "snow-white", "transparent"),
    "black": ("black", "jet black", "ebony"),
    "grey": ("grey", "gray", "silver", "charcoal", "dark grey"),
    "cyan": ("cyan", "turquoise", "teal", "aqua"),
}
"""Words by the basic colour that they are taken for."""
BASIC = tuple(SHADES)
NAMED = {word: colour for colour, words in SHADES.items() for word in words if word.isalpha()}
"""Basic colour of each single word."""


def named_colours(words: tuple[str, ...]) -> set[str]:
    """Return the basic colours that lower-case `words` name outright."""
    return {NAMED[word] for word in words if word in NAMED}
