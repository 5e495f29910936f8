"""Archives from elsewhere, unpacked whole or not at all, and never outside their folder."""

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from geofm.errors import DatasetError, OutputError

_ENDINGS = (".tar.gz", ".tgz", ".tar")


def archives_in(folder: Path) -> list[Path]:
    """The archives that lie in a folder, hidden ones left out."""
    return sorted(path for path in folder.iterdir() if is_archive(path))


def is_archive(path: Path) -> bool:
    """Whether a path names an archive that is not hidden."""
    return path.name.endswith(_ENDINGS) and not path.name.startswith(".")


def unpacked(archive: Path) -> Path:
    """The folder that an archive is unpacked to."""
    ending = next(ending for ending in _ENDINGS if archive.name.endswith(ending))
    return archive.with_name(archive.name.removesuffix(ending))


def unpack(archive: Path) -> Path:
    """Unpack an archive beside itself, if that has not been done; returns the folder.

    Hidden files are left in it. A killed run leaves a folder ``NAME.part``, which the
    next one begins anew.

    Raises:
        DatasetError: it is damaged, or a member is a link or leads out of the folder.
        OutputError: the disk is full.
    """
    folder = unpacked(archive)
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with tarfile.open(archive) as file:
            members = [member for member in file.getmembers() if _is_wanted(archive, member)]
            _check_room(archive, sum(member.size for member in members))
            for member in members:
                _write(file, member, part)
        part.mkdir(exist_ok=True)
        part.rename(folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{archive} cannot be unpacked ({reason}); remove it and fetch it again"
        ) from error
    return folder


def _is_wanted(archive: Path, member: tarfile.TarInfo) -> bool:
    """Files that anybody made on purpose.

    Raises:
        DatasetError: the member is neither a plain file nor a folder, or leads elsewhere.
    """
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or path.parts[0].endswith(":"):
        raise DatasetError(
            f"{archive} holds {member.name!r}, which leads out of its folder; it is not what its "
            "makers published; remove it and fetch it from their home"
        )
    if not (member.isfile() or member.isdir()):
        raise DatasetError(
            f"{archive} holds {member.name!r}, which is a link or a device; needed plain files; "
            "remove it and fetch it from its makers' home"
        )
    return member.isfile() and not any(part.startswith(".") for part in path.parts if part != ".")


def _check_room(archive: Path, size: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if size > free:
        raise OutputError(
            f"{archive} holds {size / 2**30:.1f} GiB, and its disk has {free / 2**30:.1f} GiB "
            "left; free some space, or choose another folder"
        )


def _write(file: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    target = folder / member.name.replace("\\", "/")
    target.parent.mkdir(parents=True, exist_ok=True)
    source = file.extractfile(member)
    assert source is not None, member.name
    # Written by hand: nothing of its owner, rights or times is taken over.
    with source, target.open("wb") as out:
        shutil.copyfileobj(source, out)
