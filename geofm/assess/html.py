"""Pages of HTML that need nothing else: their frame, their pictures, and how they are written."""

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np

import geofm
from geofm.assess.chips import Rgb
from geofm.errors import OutputError


def write_html(path: Path, lines: Iterable[str]) -> Path:
    """Write a page, replacing what stands there.

    Raises:
        OutputError: it cannot be written.
    """
    text = "\n".join(lines)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror}); choose another folder"
        ) from error
    return path


def page_head(title: str, style: str) -> str:
    """The beginning of a page, up to its body."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
    )


def page_foot(about: str, command: str) -> str:
    """The end of a page: the version, ``about``, and what the user typed."""
    typed = f"; <code>{escape(command)}</code>" if command else ""
    return (
        f'<p class="faint"><small>geofm {geofm.__version__}{about}{typed}</small></p></body></html>'
    )


def png_address(picture: Rgb) -> str:
    """A picture (h, w, 3) uint8 as an address that holds it."""
    return f"data:image/png;base64,{b64encode(png_bytes(picture)).decode()}"


def png_bytes(picture: Rgb) -> bytes:
    """A picture (h, w, 3) uint8 as a PNG file (ISO 15948)."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = picture.reshape(height, -1)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
