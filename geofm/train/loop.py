"""The training loop, on Lightning: a model, its loss and samples in; trained weights out."""

import logging
import warnings
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from geofm.errors import ConfigError
from geofm.tiles.dataset import Sample, TileDataset
from geofm.train.config import TrainingConfig
from geofm.train.optim import parameter_groups, warmup_cosine

Progress = Callable[[float, str], None]
"""Is told the share done, 0 to 1, and what is being done."""


def part_of(progress: Progress | None, start: float, stop: float) -> Progress:
    """A progress of one part of the work, which fills ``start`` to ``stop`` of the whole."""

    def tell(done: float, text: str) -> None:
        if progress:
            progress(start + done * (stop - start), text)

    return tell


class Batches:
    """Samples by index in batches, read in this process.

    Step ``i`` holds samples ``i * size`` to ``(i + 1) * size - 1``.
    """

    def __init__(self, dataset: TileDataset, *, size: int) -> None:
        self.dataset = dataset
        self.size = size

    def __len__(self) -> int:
        return len(self.dataset) // self.size

    def __iter__(self) -> Iterator[Sample]:
        for step in range(len(self)):
            first = step * self.size
            batch: Sample = default_collate([self.dataset[first + i] for i in range(self.size)])
            yield batch


def fit(
    model: nn.Module,
    loss: Callable[[Sample], Tensor],
    batches: Batches,
    *,
    config: TrainingConfig,
    rates: list[tuple[nn.Module, float]],
    what: str = "training",
    progress: Progress | None = None,
) -> float:
    """Train in place; the model comes back in evaluation mode, on the CPU.

    Args:
        model: holds every weight that ``loss`` uses.
        loss: of a batch on the model's device, a scalar.
        batches: as many as the config has steps.
        config: steps, learning rate's course and clipping.
        rates: parts of the model with their learning rates; 0 freezes a part.
        what: the work, in the words that progress is told.

    Returns:
        The mean loss of the last tenth of the steps.

    Raises:
        ConfigError: the loss is no longer a number.
    """
    # Lightning announces its devices and its makers' services at INFO.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Setting what is set already also stops MKL from taking fewer threads on a busy
    # machine, and with them another order of sums.
    torch.set_num_threads(torch.get_num_threads())
    report = _Report(config, part_of(progress, 0.0, 1.0), what)
    for part, rate in rates:
        part.requires_grad_(rate > 0)
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_steps=config.steps,
        gradient_clip_val=config.clip or None,
        callbacks=[report],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # a sample follows from its index already
    )
    model.train()
    with warnings.catch_warnings():
        # Lightning to 2.6 builds a class that torch 2.9 and later deprecate.
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning, "lightning")
        trainer.fit(_Course(model, loss, config, rates), batches)
    model.requires_grad_(True).cpu().eval()
    return report.last_loss()


class _Course(lightning.LightningModule):
    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Sample], Tensor],
        config: TrainingConfig,
        rates: list[tuple[nn.Module, float]],
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.config = config
        self.rates = rates

    def training_step(self, batch: Sample, _: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        config = self.config
        groups = parameter_groups(self.rates, weight_decay=config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        warmup = round(config.warmup * config.steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, steps=config.steps, warmup=warmup)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class _Report(lightning.Callback):
    """Keeps the losses, stops at the first that is no number, tells the progress."""

    def __init__(self, config: TrainingConfig, progress: Progress, what: str) -> None:
        self.config = config
        self.progress = progress
        self.what = what
        self.losses: list[float] = []

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        del trainer, pl_module, batch
        loss = float(outputs["loss"])
        if not isfinite(loss):
            raise ConfigError(
                f"the loss is {loss} at step {batch_idx + 1}; lower the learning rate "
                f"(now {self.config.learning_rate:g}), or keep clipping on"
            )
        self.losses.append(loss)
        done = len(self.losses) / self.config.steps
        self.progress(done, f"{self.what}, loss {self.last_loss():.3f}")

    def last_loss(self) -> float:
        tail = self.losses[-max(self.config.steps // 10, 1) :]
        return sum(tail) / len(tail)
