"""The program `geofm`: a command line in; a page, or one sentence, and an exit code out."""

import errno
import io
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from geofm.cli.parser import UsageError, parse
from geofm.cli.words import as_flags
from geofm.errors import GeofmError, Stopped, ran_out_of_memory
from geofm.terminal import style_of

DONE, INPUT_AT_FAULT, USAGE, OUR_BUG = 0, 1, 2, 70
# As shells count deaths by signal: 128 + SIGINT, 128 + SIGTERM.
INTERRUPTED, TERMINATED = 130, 143

# What the system refuses for reasons that are the user's to mend.
_REFUSALS = {
    errno.ENOSPC: "free some space, or write elsewhere",
    errno.EDQUOT: "free some of your quota, or write elsewhere",
    errno.EFBIG: "write to a file system that takes larger files",
    errno.EACCES: "check its permissions, or write elsewhere",
    errno.EPERM: "check its permissions, or write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.ENOENT: "check the path",
    errno.EEXIST: "choose another name",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        words: after the program's name; those of this process by default.

    Returns:
        The exit code: 0 done, 1 the input is at fault, 2 usage, 3 a batch left scenes
        out, 70 our bug, 130 interrupted (Ctrl-C), 143 stopped by SIGTERM.
    """
    words = sys.argv[1:] if words is None else list(words)
    for stream in (sys.stdout, sys.stderr):
        # A terminal without a sign such as the degree's shows another, and breaks nothing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    debug = bool(os.environ.get("GEOFM_DEBUG"))
    if not debug:
        _quieten()
    try:
        return _run(words)
    except Exception as error:  # the one place where anything may arrive
        if debug:
            traceback.print_exc()
        return _report(error, as_json="--json" in words)
    except KeyboardInterrupt as stop:
        said = f": {as_flags(str(stop))}" if str(stop) else ""
        print(f"geofm: interrupted{said}", file=sys.stderr)
        return INTERRUPTED


def _run(words: Sequence[str]) -> int:
    flags = parse(words)
    if isinstance(flags, str):
        print(flags)
        return DONE
    from geofm.cli import commands  # with the libraries that the command needs

    result = commands.run(flags, list(words))
    print(json.dumps(result.facts, indent=2) if flags.json else result.page)
    return result.code


def _report(error: Exception, *, as_json: bool) -> int:
    """One sentence on stderr, and with ``--json`` an object on stdout; returns the exit code."""
    if isinstance(error, BrokenPipeError):
        # The reader (head, less) has left; nothing is wrong, and nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INPUT_AT_FAULT
    code, sentence = _judge(error)
    style = style_of(sys.stderr)
    print(f"{style.bad('error:')} {sentence}", file=sys.stderr)
    if as_json:
        kind = type(error).__name__
        print(json.dumps({"error": sentence, "kind": kind, "exit_code": code}, indent=2))
    return code


def _judge(error: Exception) -> tuple[int, str]:
    match error:
        case UsageError():
            return USAGE, str(error)
        case Stopped():
            return TERMINATED, as_flags(str(error))
        case GeofmError():
            return INPUT_AT_FAULT, as_flags(str(error))
        case OSError(errno=number) if number in _REFUSALS:
            where = f"{error.filename}: " if error.filename else ""
            return INPUT_AT_FAULT, f"{where}{os.strerror(number).lower()}; {_REFUSALS[number]}"
        case _ if ran_out_of_memory(error):
            return INPUT_AT_FAULT, (
                "memory ran out; choose a smaller --memory to map, a smaller --batch-size to "
                "train, or close programs"
            )
    return OUR_BUG, _confess(error)


def _confess(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    said = " ".join(str(error).split())[:200]
    return (
        f"geofm has a bug ({type(error).__name__} at {place}: {said}); please report this line "
        "with your command and `geofm doctor`, or set GEOFM_DEBUG=1 to see the traceback"
    )


def _quieten() -> None:
    """Libraries' warnings and logs are for developers; people get our sentences."""
    warnings.simplefilter("ignore")
    # What torch's C++ says to developers, in the processes that it starts too.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.getLogger().addHandler(logging.NullHandler())
