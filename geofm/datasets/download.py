"""Files from the sets' public homes: fetched once, resumed where cut off, held against hashes."""

import base64
import errno
import hashlib
import http.client
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from geofm.errors import DatasetError, OutputError

Progress = Callable[[float], None]

_PATIENCE = 30.0
_TRIES = 5
_AT_ONCE = 8
_CHUNK = 2**20
_NETWORK = (URLError, SSLError, http.client.HTTPException, ConnectionError, TimeoutError)


def fetch_files(files: Sequence[tuple[str, Path]], *, progress: Progress | None = None) -> None:
    """Fetch addresses to paths; what is there already is whole and stays.

    Raises:
        DatasetError: an address cannot be reached, is not there, or sent other bytes.
        OutputError: a file cannot be written.
    """
    todo = [(address, path) for address, path in files if not path.exists()]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        try:
            for done, _ in enumerate(threads.map(lambda one: fetch_file(*one), todo), start=1):
                if progress:
                    progress(done / len(todo))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def fetch_file(address: str, path: Path) -> None:
    """Fetch one file; a part of it (``NAME.part``) goes on where it ended.

    Its bytes are held against the MD5 that the server announces (``x-goog-hash``, or an
    ``ETag`` that is one), and against its length.

    Raises:
        DatasetError, OutputError: as `fetch_files`.
    """
    part = path.with_name(f"{path.name}.part")
    for last in range(_TRIES - 1, -1, -1):
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            announced = _continue(address, part)
            break
        except HTTPError as error:
            error.close()
            if error.code == 416:  # the part is as long as the file or longer
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code != 429:
                raise DatasetError(
                    f"{address} is not to be had (http {error.code}); the set may have moved; "
                    "fetch it by other means and give its folder"
                ) from error
            reason: Exception = error
        except _NETWORK as error:
            reason = error
        except OSError as error:
            raise OutputError(
                f"{part} cannot be written ({error.strerror or error}); free some space, or "
                "choose another folder"
            ) from error
        if not last:
            said = " ".join(str(reason).split()) or type(reason).__name__
            raise DatasetError(
                f"{address} cannot be fetched ({said}); check the network and try again: what is "
                "there stays"
            ) from reason
        time.sleep(2.0 ** (_TRIES - last - 2))
    else:
        raise AssertionError
    found = _md5(part)
    if announced is not None and found != announced:
        part.unlink()
        raise DatasetError(
            f"{address} came with MD5 {found[:12]}... and its server announced "
            f"{announced[:12]}...; the damaged copy was removed; try again"
        )
    part.rename(path)


def _continue(address: str, part: Path) -> str | None:
    """Append what is missing; returns the announced MD5, if any."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    with urlopen(Request(address, headers=headers), timeout=_PATIENCE) as answer:  # noqa: S310
        again = answer.status == 206
        length = answer.headers.get("Content-Length")
        with part.open("ab" if again else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
        whole = (start if again else 0) + int(length) if length else None
        if whole is not None and part.stat().st_size != whole:
            raise ConnectionError(f"{part.stat().st_size} of {whole} bytes came")
        return _announced(answer.headers)


def _announced(headers: "http.client.HTTPMessage") -> str | None:
    for header in headers.get_all("x-goog-hash") or []:
        for text in header.split(","):
            kind, _, value = text.strip().partition("=")
            if kind == "md5":
                return base64.b64decode(value).hex()
    return None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch_from_hub(
    repo: str, choose: Callable[[Sequence[str]], Sequence[str]], root: Path
) -> list[Path]:
    """Fetch files of a data set on the Hugging Face Hub into a folder.

    Args:
        repo: such as ``owner/name``.
        choose: of all names there, those wanted.

    Raises:
        DatasetError: the hub cannot be reached, has no such set, or sent other bytes.
        OutputError: a file cannot be written.
    """
    from huggingface_hub import HfApi, hf_hub_download  # slow to import

    try:
        info = HfApi().dataset_info(repo, files_metadata=True, timeout=_PATIENCE)
    except Exception as error:  # those of whichever http library it uses
        raise _explained(error, repo) from error
    known = {one.rfilename: one for one in info.siblings or []}
    files = [known[name] for name in choose(list(known))]
    if not files:
        raise DatasetError(
            f"{repo} on the hub holds no file of the set any more; fetch it by other means and "
            "give its folder"
        )
    paths = []
    for file in files:
        path = root / file.rfilename
        sha256 = file.lfs.sha256 if file.lfs else None
        if not _is_whole(path, file.size, sha256):
            try:
                hf_hub_download(repo, file.rfilename, repo_type="dataset", local_dir=root)
            except Exception as error:
                raise _explained(error, f"{repo}/{file.rfilename}") from error
            if not _is_whole(path, file.size, sha256):
                path.unlink(missing_ok=True)
                raise DatasetError(
                    f"{repo}/{file.rfilename} is not what the hub announced (size or SHA-256); "
                    "the damaged copy was removed; try again"
                )
        paths.append(path)
    return paths


def _is_whole(path: Path, size: int | None, sha256: str | None) -> bool:
    if not path.is_file() or (size is not None and path.stat().st_size != size):
        return False
    if sha256 is None:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _explained(error: Exception, what: str) -> DatasetError | OutputError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EACCES}:
        return OutputError(
            f"{what} cannot be stored ({error.strerror}); free some space, or choose another folder"
        )
    said = " ".join(str(error).split())[:160] or type(error).__name__
    return DatasetError(
        f"{what} could not be fetched from the hub ({said}); check the network and try again, or "
        "fetch the set by other means and give its folder"
    )
