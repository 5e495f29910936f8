"""What licences forbid or ask, from their names: said on the card before anything else."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# What a licence's name says of it; the first that fits. Words, not law.
_TERMS = (
    (
        re.compile(r"\bnc\b|non-?\s?commercial", re.IGNORECASE),
        "Not for commercial use",
        "forbids commercial use of this model and, as far as they follow from it, of its maps",
    ),
    (
        re.compile(r"\bnd\b|no-?\s?deriv", re.IGNORECASE),
        "Not to be changed",
        "forbids passing on what was made from it; a model fine-tuned from this one may be that",
    ),
    (
        re.compile(r"\bsa\b|share-?\s?alike|odbl|\bgpl|\bagpl", re.IGNORECASE),
        "Share alike",
        "asks that what is made from it and passed on carries the same licence",
    ),
)
_THE_USE = "THE STATED USE IS FORBIDDEN"
FORBIDDING = (_THE_USE, _TERMS[0][1], _TERMS[1][1])
"""Headlines of what is forbidden, not only asked."""


def licence_terms(licences: Sequence[str], use: str = "") -> list[tuple[str, str]]:
    """What licences forbid or ask, loudest first: a headline and a sentence each.

    Args:
        licences: names, such as ``cc-by-nc-4.0``.
        use: what the model is for, such as ``"commercial"``.

    >>> licence_terms(["cc-by-nc-4.0"], use="commercial")[0][0]
    'THE STATED USE IS FORBIDDEN'
    >>> licence_terms(["apache-2.0"])
    []
    """
    commercial = re.search(r"(?<!non-)(?<!non )(?<!non)\bcommercial", use, re.IGNORECASE)
    found = []
    for pattern, headline, meaning in _TERMS:
        named = [licence for licence in dict.fromkeys(licences) if pattern.search(licence)]
        if named:
            sentence = f"{', '.join(named)} {meaning}"
            if commercial and headline == _TERMS[0][1]:
                found.append((_THE_USE, f"{sentence}. Stated: {use}."))
            else:
                found.append((headline, f"{sentence}."))
    return found


def model_terms(provenance: Mapping[str, Any], use: str = "") -> list[tuple[str, str]]:
    """What the licences of a model forbid or ask, its encoder's and that one's encoder's too.

    Args:
        provenance: of a model folder.
        use: in place of the one that it states.

    >>> model_terms({"licences": ["mit"], "encoder": {"licences": ["cc-by-nc-4.0"]}})[0][0]
    'Not for commercial use'
    """
    found: list[str] = []
    link: object = provenance
    while isinstance(link, Mapping):
        licences = link.get("licences")
        found += [str(one) for one in licences] if isinstance(licences, list | tuple) else []
        link = link.get("encoder")
    stated = use or provenance.get("use")
    return licence_terms(found, stated if isinstance(stated, str) else "")
