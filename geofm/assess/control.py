"""Does the foundation model pay? A model beside its controls, on the same held-out windows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from geofm.assess.compare import Comparison, paired_test
from geofm.assess.evaluate import Evaluation, evaluate_model
from geofm.errors import SplitError
from geofm.model.folder import TrainedModel
from geofm.predict.engine import MapOptions, Progress
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tiles.roles import Roles
from geofm.train.config import ControlConfig, FinetuneConfig
from geofm.train.control import CONTROLS, ControlKind, train_control


@dataclass(frozen=True, slots=True, eq=False)
class ControlRow:
    """One model of the table.

    Attributes:
        evaluation: on the held-out windows.
        against: the model less this control, on the same pixels; None for the model itself.
        seconds: that its training took; None where nobody measured.
    """

    name: str
    evaluation: Evaluation
    against: Comparison | None
    seconds: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ControlTable:
    """A model and its controls.

    Attributes:
        rows: the model first.
        held_out: ``"test"`` or ``"validation"``.
        note: one sentence on what the scores rest on.
    """

    rows: tuple[ControlRow, ...]
    held_out: str
    note: str

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def lines(self) -> list[str]:
        """The table as text, its head first and its note last."""
        from geofm.assess.table import estimate_text, signed

        width = max(len(row.name) for row in self.rows)
        lines = [f"{'':{width}}  {f'mean IoU ({self.held_out})':24}  model less control"]
        for row in self.rows:
            score = estimate_text(row.evaluation.mean_iou)
            gain = signed(row.against.difference) if row.against else ""
            lines.append(f"{row.name:{width}}  {score:24}  {gain}".rstrip())
        return [*lines, self.note]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "held_out": self.held_out,
            "note": self.note,
            "rows": [
                {
                    "name": row.name,
                    "mean_iou": row.evaluation.mean_iou.plain(),
                    "classes": [each.plain() for each in row.evaluation.class_scores],
                    "model_less_control": None if row.against is None else row.against.plain(),
                    "seconds": None if row.seconds is None else round(row.seconds, 1),
                }
                for row in self.rows
            ],
        }


def compare_controls(
    model: TrainedModel,
    pairs: Sequence[Pair],
    roles: Roles,
    *,
    config: FinetuneConfig,
    control: ControlConfig | None = None,
    kinds: Sequence[ControlKind] = CONTROLS,
    options: MapOptions | None = None,
    progress: Progress | None = None,
) -> ControlTable:
    """Train controls on the windows that a model was trained on, and score all on those held out.

    Scores are of the test windows where there are some, else of those that chose the
    weights of the model and of the U-Net alike.

    Args:
        pairs, roles, config: that the model was trained with.
        kinds: which controls.
        options: of mapping, as `evaluate_model`.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        SplitError: nothing is held out.
        ConfigError: the extra ``control`` is not installed.
    """
    held_out = "test" if roles.test else "validation"
    scored, windows = roles.of("test" if roles.test else "val", pairs)
    if not scored:
        raise SplitError(
            "nothing is held out to compare controls on (too few labels to set some apart); give "
            "more labelled scenes, or a split with test scenes"
        )
    steps = len(kinds) + 1

    def part(at: int, start: float, stop: float) -> Progress | None:
        if progress is None:
            return None
        return lambda done, text: progress((at + start + done * (stop - start)) / steps, text)

    def score(trained: TrainedModel, at: int) -> Evaluation:
        # The validation windows chose the weights, which the note says.
        return evaluate_model(
            trained,
            scored,
            windows=windows,
            allow_leakage=not roles.test,
            options=options,
            progress=part(at, 0.8, 1.0),
        )

    ours = score(model, 0)
    rows = [ControlRow(model.name, ours, None, None)]
    for at, kind in enumerate(kinds, start=1):
        began = time.monotonic()
        trained = control_of(
            kind, model, pairs, roles, config=config, control=control, progress=part(at, 0.0, 0.8)
        )
        seconds = time.monotonic() - began
        theirs = score(trained, at)
        rows.append(ControlRow(trained.name, theirs, paired_test(theirs, ours), seconds))
    note = rows[-1].against.note if rows[-1].against else ""
    if not roles.test:
        note = f"these windows also chose the weights of the model and the U-Net; {note}"
    return ControlTable(tuple(rows), held_out, note)


def control_of(
    kind: ControlKind,
    model: TrainedModel,
    pairs: Sequence[Pair],
    roles: Roles,
    *,
    config: FinetuneConfig,
    control: ControlConfig | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """A control of a model: its pixels, its windows, its budget."""
    train, train_windows = roles.of("train", pairs)
    val, val_windows = roles.of("val", pairs)
    trained = train_control(
        kind,
        model.task,
        model.classes,
        train,
        contract=model.contract,
        image_size=model.segmenter.encoder.config.image_size,
        config=config,
        control=control,
        windows=_lists(train_windows),
        val=val,
        val_windows=_lists(val_windows),
        progress=progress,
    )
    return replace(trained, provenance={**trained.provenance, "split": roles.how})


def _lists(windows: Sequence[tuple[Window, ...]]) -> list[Sequence[Window]]:
    return list(windows)
