"""Names of organs as people, viewers and data sets write them: "Liver", "kidney_l", "Niere"."""

import re
import unicodedata
from collections.abc import Iterable

LEFT = "left l lt links linke linker gauche izquierdo izquierda sinistra sinister"
RIGHT = "right r rt rechts rechte rechter droit droite derecho derecha dextra dexter"
SIDES = dict.fromkeys(LEFT.split(), "left") | dict.fromkeys(RIGHT.split(), "right")
BOTH = {"both", "bilateral"}
SYNONYMS = {
    "liver": "hepar leber foie higado fegato figado lever hepatic",
    "kidney": "ren renes niere nieren rein rinon rinones rene reni rim rins nier renal",
    "spleen": "lien milz rate bazo milza baco milt",
    "pancreas": "pankreas bauchspeicheldruse alvleesklier",
    "stomach": "magen gaster estomac estomago stomaco maag",
    "esophagus": "oesophagus",
    "adrenal": "suprarenal",
}
"""English -> the same in Latin, in other languages and spellings, without accents."""
PHRASES = {
    "gall bladder": "gallbladder",
    "urinary bladder": "bladder",
    "adrenal": "adrenal gland",
    "postcava": "inferior vena cava",
    "ivc": "inferior vena cava",
    "prostate uterus": "prostate",
}
"""What data sets call an organ in other words."""
PAIRED = ("kidney", "lung", "adrenal gland")
LESIONS = re.compile(r"tumou?r|cancer|lesion|cyst|metasta|nodule|carcinoma|mass\b")
_ENGLISH = {word: organ for organ, words in SYNONYMS.items() for word in words.split()}


def same_organ(wanted: str, name: str) -> bool:
    """Tell whether a name means an organ; one without a side means both.

    Case, accents, punctuation, plural, order and language do not matter. A part or a disease of an
    organ ("liver tumour", "Liver segment 4") is not it.
    """
    (organ, side), (other, other_side) = _parsed(wanted), _parsed(name)
    return organ == other and (side == other_side or (side is None and bool(organ)))


def organ_named(name: str, organs: Iterable[str]) -> str | None:
    """Return which of ``organs`` a name means, by same_organ; None where that is none of them.

    One of the name's own side goes before one that means both.
    """
    meant = [organ for organ in organs if same_organ(organ, name)]
    return min(meant, key=lambda organ: _parsed(organ) != _parsed(name), default=None)


def _parsed(name: str) -> tuple[tuple[str, ...], str | None]:
    """Return the words of an organ, sorted, and its side, where it has one."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # leftKidney
    plain = unicodedata.normalize("NFKD", parted).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = re.findall(r"[^\W_]+", plain)
    sides = {SIDES[word] for word in words if word in SIDES}
    organ = _english(word for word in words if word not in SIDES and word not in BOTH)
    return _PHRASES.get(organ, organ), sides.pop() if len(sides) == 1 else None


def pieces_of(organ: str) -> int:
    """Return of how many pieces an organ consists: 2 of paired ones, 0 (any) of lesions."""
    if LESIONS.search(organ.lower()):
        return 0
    return 2 if any(same_organ(organ, paired) for paired in PAIRED) else 1


def _english(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(map(_singular, words)))


def _singular(word: str) -> str:
    for form in (word, word.removesuffix("s")):
        if form in _ENGLISH:
            return _ENGLISH[form]
    return word.removesuffix("s") if len(word) > 3 and word not in SYNONYMS else word


_PHRASES = {_english(one.split()): _english(other.split()) for one, other in PHRASES.items()}
