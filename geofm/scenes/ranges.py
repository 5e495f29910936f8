"""Does an http server give the bytes that are asked for? Asked once a server.

GDAL believes whatever comes back. A server, or a proxy before it, that answers
every range with the beginning of the file would make wrong pixels of a file
without compression.
"""

import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from geofm.errors import SceneError

_TIMEOUT = 10.0
# What rasters begin with: TIFF in both byte orders, BigTIFF, JPEG 2000.
_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0c")

_TRIED: set[str] = set()
_LOCK = threading.Lock()


def check_ranges(address: str) -> None:
    """Ask for four bytes that are not the first, unless this server has been asked.

    A server that cannot be asked this way (it wants GDAL's own headers, say) is let pass.

    Raises:
        SceneError: it sent the beginning of the file.
    """
    parts = urlsplit(address)
    server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    with _LOCK:
        if server in _TRIED:
            return
    request = urllib.request.Request(address, headers={"Range": "bytes=4-7"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            # Without 206 the whole file comes, and GDAL notices that itself.
            sent = answer.read(4) if answer.status == 206 else b""
    except urllib.error.HTTPError as error:
        error.close()
        return
    except (OSError, ValueError):
        return
    if sent in _BEGINNINGS:
        raise SceneError(
            f"{server} answers a request for part of a file with its beginning; needed a server "
            "that gives ranges; download the file, or ask who runs the server"
        )
    with _LOCK:
        _TRIED.add(server)
