"""``geofm pretrain`` and ``geofm finetune``: scenes and labels in, a folder out."""

from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from geofm.cli.arguments import (
    Result,
    check_free,
    encoder_of,
    name_of,
    quoted,
    reading,
    run_of,
    training,
    with_licences,
    written,
)
from geofm.cli.control import with_controls
from geofm.cli.labelled import pairs_of, task_of
from geofm.cli.progress import progress_bar
from geofm.cli.words import wrapped
from geofm.config import config_of
from geofm.page import counted
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import FinetuneConfig, Model, Pair, PretrainConfig, PretrainedEncoder


def pretrain(flags: Namespace, style: Style) -> Result:
    """``geofm pretrain``."""
    from geofm import api
    from geofm.model.prithvi import check_source
    from geofm.shipped import encoder_folder
    from geofm.train.run_folder import finish

    check_free(flags)
    run = run_of(flags)
    config = _pretrain_config(flags)
    if flags.encoder is not None and encoder_folder(flags.encoder) is None:
        check_source(flags.encoder)
    # Which clouds are set aside, each scene does as far as it tells them.
    said = {name: value for name, value in reading(flags).items() if name != "masked_qa"}
    probed = _probed(flags, said)
    with progress_bar("opening scenes") as progress:
        scenes = api.open_scenes(
            flags.scenes,
            series=flags.series,
            most_skipped=config.most_skipped,
            progress=lambda done: progress(done, "opening scenes"),
            **said,
        )
    with progress_bar(f"pretraining on {counted(len(scenes.scenes), 'scene')}") as progress:
        encoder = api.pretrain(
            scenes,
            config,
            encoder=flags.encoder,
            name=name_of(flags.output),
            licences=flags.licence or (),
            run=run,
            progress=progress,
        )
    # Kept before anything else is tried with it: a probe may find no labels.
    api.save(encoder, flags.output, overwrite=flags.overwrite)
    finish(run.folder)
    lines = []
    if probed:
        with progress_bar("linear probe") as progress:
            encoder, curve = api.probe(encoder, probed, progress=progress)
        api.save(encoder, flags.output, overwrite=True)
        *table, last = str(curve).splitlines()
        lines = [*table, wrapped(last, indent=0)]
    return _pretrained(encoder, flags.output, style, lines)


def _probed(flags: Namespace, said: dict[str, Any]) -> "list[Pair]":
    """The labelled scenes of a probe, opened before the training that they wait for."""
    from geofm import api
    from geofm.errors import ConfigError

    if flags.probe_images is None and flags.probe_labels is None:
        return []
    if flags.probe_images is None or flags.probe_labels is None:
        raise ConfigError(
            "a linear probe was asked for by one of --probe-images and --probe-labels; give both"
        )
    return api.open_pairs(flags.probe_images, flags.probe_labels, **said)


def _pretrain_config(flags: Namespace) -> "PretrainConfig":
    """The settings that the user has said; the others keep their defaults."""
    from geofm import api

    shape = ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "coordinates")
    names = ("mask_ratio", "masking", "target", "light", "tint", "any_resolution", "most_skipped")
    said = {name: value for name in names if (value := getattr(flags, name)) is not None}
    sizes = {name: value for name in shape if (value := getattr(flags, name)) is not None}
    if flags.sample_dates:
        said["dates"] = flags.sample_dates
    if flags.masked_qa is not None:
        said["masked_qa"] = tuple(flags.masked_qa)
    if sizes:
        said["encoder"] = sizes
    return config_of(api.PretrainConfig, flags.settings, {**training(flags), **said})


def _pretrained(
    encoder: "PretrainedEncoder", output: str, style: Style, probe: list[str]
) -> Result:
    """The page of a pretrained encoder, with what was left out and what a probe read."""
    scenes = encoder.provenance["scenes"]
    used, valid = counted(scenes["used"], "scene"), scenes["valid_share"]
    lines = [f"{used}, {valid:.0%} of the pixels valid"]
    if scenes["left_out"]:
        named = [f"  {name}: {reason}" for name, reason in scenes["why"][:10]]
        more = ["  ..."] if scenes["left_out"] > len(named) else []
        lines += [f"{counted(scenes['left_out'], 'scene')} left out:", *named, *more]
    lines.append(f"loss {encoder.provenance['loss']:.4f}, {encoder.provenance['seconds']:.0f} s")
    lines += probe
    then = (
        f"geofm finetune --task flood --images DIR --labels DIR "
        f"--encoder {quoted(output)} -o flood.geofm"
    )
    page = written("encoder", output, then, style)
    facts = {**page.facts, "scenes": scenes, "loss": encoder.provenance["loss"]}
    facts["scores"] = encoder.provenance.get("scores", {})
    wrote, what_next = page.page.splitlines()
    return Result("\n".join([wrote, *lines, what_next]), facts)


def finetune(flags: Namespace, style: Style) -> Result:
    """``geofm finetune``."""
    from geofm import api
    from geofm.tasks import check_classes
    from geofm.train.control import check_installed
    from geofm.train.run_folder import finish

    check_free(flags)
    run = run_of(flags)
    task = task_of(flags)
    classes = check_classes(task.classes)
    pairs = pairs_of(flags, [kind.name for kind in classes])
    encoder = encoder_of(flags.encoder, dates=len(pairs[0].scene.dates))
    config = _finetune_config(flags)
    if flags.control:
        check_installed()
    with progress_bar(f"fine-tuning {task.name} on {counted(len(pairs), 'scene')}") as progress:
        model = api.finetune(
            task.name,
            pairs,
            classes=classes,
            encoder=encoder,
            config=config,
            val=flags.val,
            allow_leakage=flags.allow_leakage,
            features=flags.features,
            name=name_of(flags.output),
            run=run,
            progress=progress,
        )
    if flags.use:
        provenance = {**model.trained.provenance, "use": flags.use}
        model = api.Model(replace(model.trained, provenance=provenance))
    api.save(model, flags.output, overwrite=flags.overwrite)
    finish(run.folder)
    result = _finetuned(model, flags.output, style)
    if not flags.control:
        return result
    return with_controls(result, model, pairs, config=config, flags=flags, style=style)


def _finetune_config(flags: Namespace) -> "FinetuneConfig":
    """The settings that the user has said; the others keep their defaults."""
    from geofm import api

    names = (
        *(
            "head",
            "start",
            "channels",
            "encoder_rate",
            "layer_decay",
            "lora",
            "loss",
            "class_weights",
        ),
        *("image_size", "light", "patience"),
    )
    said = {name: value for name in names if (value := getattr(flags, name)) is not None}
    return config_of(api.FinetuneConfig, flags.settings, {**training(flags), **said})


def _finetuned(model: "Model", output: str, style: Style) -> Result:
    """The page of a model, with what it was fitted to and chosen by."""
    provenance = model.trained.provenance
    facts = {name: provenance[name] for name in ("loss", "adapted", "split", "validation")}
    lines = [provenance["split"], *provenance["adapted"], f"loss {provenance['loss']:.4f}"]
    if provenance["encoder"] and not provenance["config"]["encoder_rate"]:
        lines.append("the encoder stays as it was; the head alone has learnt")
    chosen = provenance["validation"]
    if chosen:
        lines.append(
            f"validation: mean IoU {chosen['mean IoU']:.3f}, best at step {chosen['step']}"
        )
    then = f"geofm map {quoted(output)} SCENE.tif -o {model.task}.tif"
    page = written("model", output, then, style)
    wrote, what_next = page.page.splitlines()
    text = "\n".join([wrote, *filter(None, lines), what_next])
    return with_licences(Result(text, {**page.facts, **facts}), provenance, style)
