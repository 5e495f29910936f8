"""Files from the Hugging Face Hub: fetched once, and held against their hash."""

import errno
import re
from pathlib import Path

from geofm.errors import ModelError, OutputError
from geofm.model.weights import file_sha256

PATIENCE = 10.0
"""Seconds to wait for the hub's first word; then a copy in the cache must do."""


def fetch(repo: str, file: str) -> Path:
    """The path of a file of the hub in the user's cache (``HF_HOME``), downloaded if need be.

    Raises:
        ModelError: the hub cannot be reached, has no such file, or sent other bytes.
        OutputError: the cache cannot be written.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # slow to import

    what = f"{repo}/{file}"
    try:
        # Asked first: left alone, the library tries for minutes to reach a hub that is not there.
        get_hf_file_metadata(hf_hub_url(repo, file), timeout=PATIENCE)
    except Exception as error:  # those of whichever http library it uses
        path = _in_cache(repo, file)
        if path is None:
            raise _explained(error, what) from error
    else:
        try:
            path = Path(hf_hub_download(repo, file))
        except Exception as error:
            raise _explained(error, what) from error
    _check_hash(path, what)
    return path


def _in_cache(repo: str, file: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, file, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _explained(error: Exception, what: str) -> ModelError | OutputError:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return ModelError(
                f"{what} is given to registered users only; accept its licence on "
                "huggingface.co and log in (hf auth login)"
            )
        case errors.RepositoryNotFoundError() | errors.EntryNotFoundError():
            return ModelError(
                f"the hub has no {what}; it may have moved; fetch the file by other means and "
                "give its path"
            )
        case OSError(errno=number) if number in {errno.ENOSPC, errno.EDQUOT, errno.EACCES}:
            return OutputError(
                f"{what} cannot be stored ({error.strerror}); free some space, or set HF_HOME to "
                "another disk"
            )
        case _:
            said = " ".join(str(error).split())[:120] or type(error).__name__
            return ModelError(
                f"{what} could not be fetched ({said}); check the network and try again, or "
                "fetch the file by other means and give its path"
            )


def _check_hash(path: Path, what: str) -> None:
    """Large files lie in the cache under their SHA-256; a damaged one is removed."""
    stored = path.resolve()
    if not re.fullmatch(r"[0-9a-f]{64}", stored.name):
        return
    found = file_sha256(stored)
    if found != stored.name:
        path.unlink(missing_ok=True)
        stored.unlink(missing_ok=True)
        raise ModelError(
            f"{what} has SHA-256 {found[:12]}... and the hub announced {stored.name[:12]}...; "
            "the damaged copy was removed from the cache; try again"
        )
