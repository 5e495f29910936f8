"""The words of the command line: arguments of Python as flags."""

import re


def as_flags(sentence: str) -> str:
    """One line, with the arguments that Python users are told of as flags.

    >>> as_flags("give scale= (and offset=), such as scale=0.0001")
    'give --scale (and --offset), such as --scale 0.0001'
    """
    names = {"classes": "codes"}
    return re.sub(
        r"\b(scale|offset|level|nodata|bands|sensor|dates|column|classes)=([\w.+-]*)",
        lambda found: f"--{names.get(found[1], found[1])} {found[2]}".rstrip(),
        " ".join(sentence.split()),
    )
