"""Names of organs as people and viewers write them: "Liver", "left kidney", "Niere rechts"."""

import re
import unicodedata
from collections.abc import Iterable

SIDES = set(
    "left right l r lt rt both bilateral links rechts linke rechte linker rechter gauche droit "
    "droite izquierdo izquierda derecho derecha sinistra dextra sinister dexter".split()
)
SYNONYMS = {
    "liver": "hepar leber foie higado fegato figado lever",
    "kidney": "ren renes niere nieren rein rinon rinones rene reni rim rins nier",
    "spleen": "lien milz rate bazo milza baco milt",
    "pancreas": "pankreas bauchspeicheldruse alvleesklier",
    "stomach": "magen gaster estomac estomago stomaco maag",
}
"""English -> the same in Latin and in other languages, without accents."""
_ENGLISH = {word: organ for organ, words in SYNONYMS.items() for word in words.split()}


def organ_named(name: str, organs: Iterable[str]) -> str | None:
    """Return which of ``organs`` a name means; None where that is none of them.

    Case, accents, punctuation, plural and language do not matter; sides matter only where the
    organs have them. A part or a disease of an organ ("liver tumour", "Liver segment 4") is not it.
    """
    known: dict[tuple[str, ...], str] = {}
    for organ in organs:
        known.setdefault(_words(organ), organ)
    words = _words(name)
    if words in known:
        return known[words]
    return known.get(tuple(word for word in words if word not in SIDES))


def _words(name: str) -> tuple[str, ...]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # leftKidney
    plain = unicodedata.normalize("NFKD", parted).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return tuple(sorted(map(_singular, re.findall(r"[^\W_]+", plain))))


def _singular(word: str) -> str:
    for form in (word, word.removesuffix("s")):
        if form in _ENGLISH:
            return _ENGLISH[form]
    ends = word.endswith("s") and len(word) > 3 and word not in SYNONYMS and word not in SIDES
    return word.removesuffix("s") if ends else word
