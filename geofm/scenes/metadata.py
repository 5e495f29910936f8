"""Metadata as text: from a folder, a zip or an http server, in bounded time."""

import json
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from geofm.errors import SceneError
from geofm.scenes.handles import plain_name

MAX_BYTES = 64 * 2**20
"""No metadata is larger; a server that sends more is not sending metadata."""

_TIMEOUT = 20.0
_WAITS = (0.5, 1.0, 2.0)
"""Seconds before each further try."""
_PASSING = {429, 500, 502, 503, 504}
"""Answers that another try may mend."""
_AGENT = "geofm (https://pypi.org/project/geofm)"


def read_text(path: str) -> str:
    """The text of a file; ``/vsizip/ARCHIVE.zip/MEMBER`` and http addresses too.

    Raises:
        SceneError: it is not there, out of reach, or no text.
    """
    name = plain_name(path)
    try:
        if path.startswith(("http://", "https://")):
            content = _fetch(path)
        elif path.startswith("/vsizip/"):
            archive, member = split_zip(path)
            with zipfile.ZipFile(archive) as file:
                content = file.read(member)
        else:
            content = Path(path).read_bytes()
        return content.decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile, UnicodeDecodeError, ValueError) as error:
        raise SceneError(
            f"{name} cannot be read ({_reason(error)}); needed its metadata; check the path, or "
            "fetch it again"
        ) from error


def read_json(path: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SceneError: as `read_text`, or it is no JSON object.
    """
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise SceneError(f"{plain_name(path)} is no JSON ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise SceneError(f"{plain_name(path)} is JSON, but no object; give a STAC item or an MTL")
    return found


def read_xml(path: str) -> xml.Element:
    """The root of an XML file; the parser expands no entity from outside.

    Raises:
        SceneError: as `read_text`, or it is no XML.
    """
    text = read_text(path)
    if "<!ENTITY" in text:
        raise SceneError(f"{plain_name(path)} declares entities, as no agency does; fetch it again")
    try:
        return xml.fromstring(text)  # noqa: S314  entities are refused above
    except xml.ParseError as error:
        raise SceneError(f"{plain_name(path)} is no XML ({error}); fetch it again") from error


def split_zip(path: str) -> tuple[str, str]:
    """Archive and member of a ``/vsizip/`` path."""
    inside = path.removeprefix("/vsizip/")
    archive, _, member = inside.partition(".zip/")
    return f"{archive}.zip", member


def _fetch(address: str) -> bytes:
    """GET with a few tries; what no further try can mend ends at once."""
    request = urllib.request.Request(address, headers={"User-Agent": _AGENT})  # noqa: S310
    for wait in (*_WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                content: bytes = answer.read(MAX_BYTES + 1)
        except OSError as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code not in _PASSING
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if final or wait is None:
                raise
            time.sleep(wait)
        else:
            if len(content) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES:,} bytes")
            return content
    raise AssertionError("the last try returns or raises")


def _reason(error: BaseException) -> str:
    """What went wrong in a few words; an address in it may carry a token, so none is shown."""
    match error:
        case urllib.error.HTTPError():
            return f"http {error.code}"
        case urllib.error.URLError():
            return f"no answer: {type(error.reason).__name__}"
        case FileNotFoundError() | KeyError():
            return "it is not there"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return str(error)
