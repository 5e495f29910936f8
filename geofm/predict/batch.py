"""Many scenes with one model: tasks handed to workers, tried again, set aside, written down.

A scene that fails is tried again after the others, a few times. The death of a worker is
not held against the scene that it had in work, unless it repeats: after two, the scene
waits until all others are done and runs alone, so that no other can be the cause; after
three more, it is set aside.
"""

import re
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from geofm.errors import GeofmError, OutputError, SceneError, Stopped
from geofm.export.collection import COLLECTION
from geofm.export.stac import read_receipt
from geofm.predict.engine import Progress
from geofm.predict.ledger import Ledger, Line, RunLine, Status, ledger_path, open_ledger
from geofm.predict.mapping import stop_on_sigterm
from geofm.predict.publish import output_files
from geofm.predict.scratch import disk_errors, hold_lock
from geofm.predict.task import STATE, Ended, SceneDone, SceneFailure, SceneTask, mark_of
from geofm.predict.workers import Workers
from geofm.scenes.entries import Entry

DEATHS_AMONG_OTHERS = 2
DEATHS_ALONE = 3
BUSY_TRIES = 12
"""Looks at an output that another run holds; the waits between them add up to nine minutes."""
_LONGEST_WAIT = 60.0
_FULL_SCENES = 8
"""Scenes in a row that a full disk refuses, after which the batch ends."""
_TICK = 1.0
"""Seconds between two looks at a signal, and two lines of progress."""


@dataclass(frozen=True, slots=True)
class FailedScene:
    """A scene that was set aside.

    Attributes:
        tries: that ended with an error.
        deaths: of workers that had it in work.
    """

    name: str
    source: str
    reason: str
    tries: int
    deaths: int


@dataclass(frozen=True, slots=True)
class BatchTally:
    """What a run of a batch did.

    Attributes:
        scenes: of the manifest.
        mapped: in this run.
        kept: whose maps stood there, whole and of the same recipe.
        failed: set aside.
        waiting: not mapped, because the batch ended early.
        ended_early: why, or "".
        pixels, square_km: of what was mapped in this run.
        seconds: of this run.
        deaths: of workers with a scene in work.
        ledger: the SQLite file that tells of each scene.
    """

    scenes: int
    mapped: int
    kept: int
    failed: tuple[FailedScene, ...]
    waiting: int
    ended_early: str
    pixels: int
    square_km: float
    seconds: float
    deaths: int
    ledger: Path


@dataclass(slots=True)
class _Scene:
    """One scene on its way."""

    task: SceneTask
    line: Line
    lone_deaths: int = 0
    looks: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class _State:
    """Where the scenes are.

    Attributes:
        suspects: whose workers died twice: they run alone, at the end.
        alone: a suspect is in work.
        refused: scenes that a full disk refused since the last that was mapped.
    """

    waiting: deque[_Scene]
    running: dict[str, _Scene] = field(default_factory=dict)
    suspects: deque[_Scene] = field(default_factory=deque)
    alone: bool = False
    refused: set[str] = field(default_factory=set)
    ended_early: str = ""


def name_maps(entries: Sequence[Entry]) -> list[str]:
    """A name for the map of each scene, from its id, without an ending.

    Raises:
        SceneError: there is no scene, or two would write the same files.
    """
    if not entries:
        raise SceneError("the manifest names no scene; needed one or more")
    taken = {COLLECTION: "the list of all maps"}
    names = []
    for entry in entries:
        name = _file_name(entry.id)
        # As some file systems do, take A.tif and a.tif for one.
        files = {path.name.casefold() for path in output_files(Path(f"{name}.tif")).values()}
        held = next((taken[file] for file in files if file in taken), None)
        if held is not None:
            raise SceneError(
                f"{entry.name} would be mapped to {name}.tif, which is taken by {held}; give each "
                "scene an id of its own in a catalogue (.csv with the columns path and id)"
            )
        taken |= dict.fromkeys(files, entry.name)
        names.append(name)
    return names


def check_other_models(tasks: Sequence[SceneTask]) -> None:
    """Refuse a folder whose maps another model made, before ten thousand scenes say so.

    Raises:
        OutputError: there are some, and they may not be replaced.
    """
    job = tasks[0].job
    if job.options.overwrite:
        return
    receipts = [read_receipt(task.out) for task in tasks if task.out.exists()]
    models = [receipt.get("model") or {} for receipt in receipts if receipt]
    others = [model for model in models if model.get("sha256") != job.model_sha256]
    if others:
        raise OutputError(
            f"{job.folder} holds {len(others)} maps of these scenes by another model, "
            f"{others[0].get('name', 'unknown')}; choose another folder, or give --overwrite to "
            "make them again"
        )


@contextmanager
def hold_folder(folder: Path) -> Iterator[str]:
    """Hold a folder for one batch, and mark it for the workers.

    Yields:
        The mark, which `Job` carries.

    Raises:
        BusyError: another batch is at it.
        OutputError: it cannot be written.
    """
    state = folder / STATE
    with disk_errors(folder):
        state.mkdir(parents=True, exist_ok=True)
    busy = f"another batch is writing to {folder}; wait for it, or choose another folder"
    with hold_lock(state / "lock", busy):
        mark = uuid.uuid4().hex
        with disk_errors(folder):
            mark_of(folder).write_text(mark)
        yield mark


def run_batch(
    tasks: Sequence[SceneTask],
    workers: Workers,
    *,
    run: RunLine,
    tries: int,
    progress: Progress | None = None,
) -> BatchTally:
    """Map every scene, as far as that can be done.

    Args:
        tasks: one or more, with names as `name_maps` gives them.
        run: what the ledger says of this run.
        tries: of a scene that fails, in all.
        progress: is told the share done, 0 to 1, and how it goes.

    Raises:
        OutputError: the ledger cannot be written.
        GeofmError: no worker can work.
        Stopped: SIGTERM came, and the blocks in work are finished; the same tasks go on.
    """
    started = time.monotonic()
    lines = [Line(task.name, task.entry.name, str(task.out)) for task in tasks]
    scenes = [_Scene(task, line) for task, line in zip(tasks, lines, strict=True)]
    state = _State(deque(scenes))
    path = ledger_path(tasks[0].job.folder)
    with stop_on_sigterm() as stopped, open_ledger(path, lines, run) as ledger:
        try:
            _run(state, workers, ledger, tries=tries, show=_Shown(lines, progress), stopped=stopped)
        except BaseException as error:
            run.outcome = " ".join(str(error).split()) or type(error).__name__
            ledger.write(*_back_to_waiting(state))
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt("the same command goes on where it was stopped") from None
            raise
        tally = _tally(lines, state, time.monotonic() - started, path)
        run.outcome = state.ended_early or f"{len(tally.failed)} failed"
    return tally


def _run(
    state: _State,
    workers: Workers,
    ledger: Ledger,
    *,
    tries: int,
    show: "_Shown",
    stopped: Callable[[], bool],
) -> None:
    stopping = False
    while state.running or not (stopping or state.ended_early or _nothing_left(state)):
        if stopped() and not stopping:
            stopping = True
            workers.stop()
        given = [] if stopping or state.ended_early else _give(state, workers)
        ended = workers.wait(_patience(state))
        settled = [_settle(state, one, tries) for one in ended]
        if given or settled:
            ledger.write(*given, *settled)
        show(workers.shares)
    if stopping:
        left = len(state.waiting) + len(state.suspects)
        raise Stopped(
            f"stopped with {left} scenes to go; the same command goes on where it was stopped"
        )


def _nothing_left(state: _State) -> bool:
    return not (state.waiting or state.suspects)


def _patience(state: _State) -> float:
    """Seconds to wait for an end, or until something may begin."""
    return _TICK if state.running else min(max(_soonest(state), 0.0), _TICK)


def _soonest(state: _State) -> float:
    waits = [scene.not_before for scene in state.waiting]
    return min(waits, default=0.0) - time.monotonic()


def _give(state: _State, workers: Workers) -> list[Line]:
    """Hand out what may begin; returns the lines that changed."""
    given = []
    while len(state.running) < workers.capacity and (scene := _next(state)):
        state.running[scene.task.name] = scene
        scene.line.status = "running"
        given.append(scene.line)
        workers.start(scene.task)
    return given


def _next(state: _State) -> _Scene | None:
    """The next scene that may begin now."""
    if state.alone:
        return None
    at = time.monotonic()
    for index, scene in enumerate(state.waiting):
        if scene.not_before <= at:
            del state.waiting[index]
            return scene
    if state.waiting or state.running or not state.suspects:
        return None
    state.alone = True
    return state.suspects.popleft()


def _settle(state: _State, ended: Ended, tries: int) -> Line:
    """Write down how a try went, and decide whether there is another."""
    scene = state.running.pop(ended.name)
    alone, state.alone = state.alone, False
    line = scene.line
    line.seconds, line.status = ended.seconds, "waiting"
    if isinstance(ended, SceneDone):
        line.status = "kept" if ended.kept else "mapped"
        line.pixels, line.square_km = ended.pixels, ended.square_km
        line.tries += 1
        state.refused.clear()
        return line
    line.error = ended.text
    match ended.reason:
        case "unfit":
            raise GeofmError(ended.text)
        case "stopped":
            line.error = ""
            state.waiting.appendleft(scene)
        case "died":
            _after_death(state, scene, alone=alone)
        case "busy":
            _after_busy(state, scene)
        case "full":
            _after_full_disk(state, scene, ended)
        case "failed" if line.tries + 1 < tries:
            line.tries += 1
            state.waiting.append(scene)
        case _:
            line.tries += 1
            line.status = "failed"
    return line


def _after_death(state: _State, scene: _Scene, *, alone: bool) -> None:
    scene.line.deaths += 1
    scene.lone_deaths += alone
    if scene.lone_deaths >= DEATHS_ALONE:
        scene.line.status = "failed"
        scene.line.error += (
            f"; {scene.line.deaths} workers ended with this scene, {DEATHS_ALONE} of them alone"
        )
    elif scene.line.deaths >= DEATHS_AMONG_OTHERS:
        state.suspects.append(scene)
    else:
        state.waiting.append(scene)


def _after_busy(state: _State, scene: _Scene) -> None:
    scene.looks += 1
    if scene.looks >= BUSY_TRIES:
        scene.line.status = "failed"
        return
    scene.not_before = time.monotonic() + min(2.0 ** (scene.looks - 1), _LONGEST_WAIT)
    state.waiting.append(scene)


def _after_full_disk(state: _State, scene: _Scene, ended: SceneFailure) -> None:
    """Try the others: a smaller scene may fit, and room comes back when one is finished."""
    state.waiting.append(scene)
    state.refused.add(scene.task.name)
    left = len(state.waiting) + len(state.running) + len(state.suspects)
    if len(state.refused) >= min(left, _FULL_SCENES):
        state.ended_early = ended.text


def _back_to_waiting(state: _State) -> list[Line]:
    """What was in work when the batch ended waits for the next run."""
    lines = [scene.line for scene in state.running.values()]
    for line in lines:
        line.status = "waiting"
    return lines


class _Shown:
    """How a batch goes, in a line: scenes done and failed, scenes and square km an hour."""

    def __init__(self, lines: Sequence[Line], progress: Progress | None) -> None:
        self._lines, self._progress = lines, progress
        self._started = time.monotonic()

    def __call__(self, shares: float) -> None:
        if self._progress is None:
            return
        counts = Counter(line.status for line in self._lines)
        settled = counts["mapped"] + counts["kept"] + counts["failed"]
        self._progress((settled + shares) / len(self._lines), self._text(counts))

    def _text(self, counts: Counter[Status]) -> str:
        hours = (time.monotonic() - self._started) / 3600
        mapped = [line for line in self._lines if line.status == "mapped"]
        parts = [f"{counts['mapped'] + counts['kept']} of {len(self._lines)}"]
        if counts["failed"]:
            parts.append(f"{counts['failed']} failed")
        if mapped:
            area = sum(line.square_km for line in mapped)
            parts += [f"{len(mapped) / hours:,.0f} scenes/h", f"{area / hours:,.0f} km²/h"]
        return ", ".join(parts)


def _tally(lines: Sequence[Line], state: _State, seconds: float, ledger: Path) -> BatchTally:
    counts = Counter(line.status for line in lines)
    mapped = [line for line in lines if line.status == "mapped"]
    return BatchTally(
        scenes=len(lines),
        mapped=counts["mapped"],
        kept=counts["kept"],
        failed=tuple(
            FailedScene(line.scene, line.source, line.error, line.tries, line.deaths)
            for line in lines
            if line.status == "failed"
        ),
        waiting=counts["waiting"] + counts["running"],
        ended_early=state.ended_early,
        pixels=sum(line.pixels for line in mapped),
        square_km=sum(line.square_km for line in mapped),
        seconds=seconds,
        deaths=sum(line.deaths for line in lines),
        ledger=ledger,
    )


def _file_name(scene: str) -> str:
    """A scene's id as the name of a file, in letters, digits, dots and dashes.

    >>> _file_name("S2A:T33 UUU/2017"), _file_name(".hidden")
    ('S2A-T33-UUU-2017', 'hidden')
    """
    return re.sub(r"[^\w.-]+", "-", scene).lstrip(".-")[:180] or "scene"
