"""Words typed after a flag -> values."""

import argparse
import re


def size(text: str) -> int:
    """A memory size in bytes.

    >>> size("2GiB"), size("512 MB"), size("1.5g")
    (2147483648, 512000000, 1610612736)
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([kmgt]?)(i?b?)\s*", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: write a size such as 2GiB or 512MiB")
    base = 1000 if found[2] and found[3] == "b" else 1024
    power = " kmgt".index(found[2] or " ")
    number = float(found[1]) if "." in found[1] else int(found[1])
    return int(number * base**power)


def names(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> float | tuple[float, ...]:
    """A number, or one for each band between commas."""
    found = tuple(float(part) for part in text.split(","))
    return found[0] if len(found) == 1 else found


def pairs(text: str) -> dict[str, str]:
    """``a=b,c=d`` as a mapping."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(key.strip() and value.strip() for key, _, value in parts):
        raise argparse.ArgumentTypeError(f"{text}: write pairs such as nir08=nir")
    return {key.strip(): value.strip() for key, _, value in parts}


def shares(text: str) -> dict[str, float]:
    """``water=0.9,land=0.8`` as a mapping to numbers."""
    return {key: float(value) for key, value in pairs(text).items()}


def hectares(text: str) -> float:
    """An area from 0."""
    area = float(text)
    if not 0 <= area < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: write hectares from 0, such as 0.5")
    return area


def metres(text: str) -> float:
    """A length, 0 or more."""
    length = float(text)
    if not 0 <= length < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: write metres from 0, such as 20")
    return length


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 between commas."""
    return tuple(count(part) for part in names(text))


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: write a whole number from 0")
    return int(text)


def count_or_auto(text: str) -> int | str:
    """A whole number from 1, or auto."""
    return text if text == "auto" else count(text)


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: write a whole number from 1")
    return int(text)
