"""``geofm pretrain`` and ``geofm finetune``: scenes and labels in, a folder out."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from geofm.cli.arguments import (
    Result,
    check_free,
    class_codes,
    name_of,
    quoted,
    reading,
    training,
    written,
)
from geofm.cli.progress import progress_bar
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import PretrainedEncoder


def pretrain(flags: Namespace, style: Style) -> Result:
    """``geofm pretrain``."""
    from geofm import api

    check_free(flags)
    scenes = [api.open_scene(path, **reading(flags)) for path in flags.scenes]
    with progress_bar(f"pretraining on {len(scenes)} scenes") as progress:
        encoder = api.pretrain(
            scenes,
            api.PretrainConfig(**training(flags)),
            name=name_of(flags.output),
            progress=progress,
        )
    api.save(encoder, flags.output, overwrite=flags.overwrite)
    then = (
        f"geofm finetune --task flood --images DIR --labels DIR "
        f"--encoder {quoted(flags.output)} -o flood.geofm"
    )
    return written("encoder", flags.output, then, style)


def finetune(flags: Namespace, style: Style) -> Result:
    """``geofm finetune``."""
    from geofm import api
    from geofm.tasks import find_task

    check_free(flags)
    task = find_task(flags.task)
    pairs = api.open_pairs(
        flags.images,
        flags.labels,
        codes=class_codes(flags.codes, [kind.name for kind in task.classes]),
        column=flags.column,
        **reading(flags),
    )
    encoder = _encoder(flags.encoder, dates=len(pairs[0].scene.dates))
    with progress_bar(f"fine-tuning {task.name} on {len(pairs)} scenes") as progress:
        model = api.finetune(
            task.name,
            pairs,
            encoder=encoder,
            config=api.FinetuneConfig(**training(flags)),
            name=name_of(flags.output),
            progress=progress,
        )
    api.save(model, flags.output, overwrite=flags.overwrite)
    then = f"geofm map {quoted(flags.output)} SCENE.tif -o {task.name}.tif"
    return written("model", flags.output, then, style)


def _encoder(source: str | None, *, dates: int) -> "PretrainedEncoder | None":
    """An encoder folder, or a published encoder for so many dates."""
    from geofm import api

    if source is None:
        return None
    folder = Path(source).is_dir()
    return api.load_encoder(source) if folder else api.load_encoder(source, dates=dates)
