"""Files from the Hugging Face Hub: fetched once, resumed when cut off, held against their hash."""

import errno
import re
from pathlib import Path

from geofm.errors import ModelError, OutputError
from geofm.model.weights import file_sha256


def fetch(repo: str, file: str) -> Path:
    """The path of a file of the hub in the user's cache (``HF_HOME``), downloaded if need be.

    Raises:
        ModelError: the hub cannot be reached, has no such file, or sent other bytes.
        OutputError: the cache cannot be written.
    """
    from huggingface_hub import hf_hub_download  # slow to import

    try:
        path = Path(hf_hub_download(repo, file))
    except Exception as error:  # it passes on the errors of whichever http library it uses
        raise _explained(error, f"{repo}/{file}") from error
    _check_hash(path, f"{repo}/{file}")
    return path


def _explained(error: Exception, what: str) -> ModelError | OutputError:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return ModelError(
                f"{what} is given to registered users only; accept its licence on "
                "huggingface.co and log in (hf auth login)"
            )
        case errors.LocalEntryNotFoundError():
            return ModelError(
                f"{what} is not in the cache and the hub cannot be reached; check the network, "
                "or fetch the file by other means and give its path"
            )
        case errors.RepositoryNotFoundError() | errors.EntryNotFoundError():
            return ModelError(
                f"the hub has no {what}; it may have moved; fetch the file by other means and "
                "give its path"
            )
        case OSError(errno=number) if number in {errno.ENOSPC, errno.EDQUOT, errno.EACCES}:
            return OutputError(
                f"{what} cannot be stored ({error.strerror}); free some space or set HF_HOME "
                "to another disk; what was fetched is kept and the next try goes on from there"
            )
        case _:
            said = " ".join(str(error).split())[:120] or type(error).__name__
            return ModelError(
                f"{what} could not be fetched ({said}); what was fetched is kept; try again"
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
            f"{what} has SHA-256 {found[:12]}... and the hub announces {stored.name[:12]}...; "
            "the damaged copy was removed from the cache; try again"
        )
