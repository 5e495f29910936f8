"""What a training runs on, by rule: devices, precision, compiled or not.

Nothing is measured or tried out, so the same command runs the same way again.
"""

import logging
import os
import shutil
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from signal import SIG_DFL, SIGINT, SIGTERM, Signals, default_int_handler, getsignal, signal
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import TypeVar, cast

import lightning
import torch
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.strategy import Strategy
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from geofm.errors import ConfigError, GeofmError
from geofm.model.blocks import Blocks
from geofm.page import counted, time_text
from geofm.processor import bfloat16_flags
from geofm.train.config import TrainingConfig
from geofm.train.spread import spread

LONG_RUN = 2000
"""Steps from which compiling pays on a GPU, which takes a minute or two."""

PATIENCE = timedelta(days=1)
"""How long processes wait for each other; torch's own 30 minutes are short for many scenes,
which every process opens and one of them measures."""

_STARTER = "GEOFM_STARTED_BY"
"""Tells the processes that Lightning starts which one they work with."""

T = TypeVar("T")

_shared: list[str] = []
"""Trainings that this process has shared with others; those have ended with them."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of libraries about each other."""
    with warnings.catch_warnings():
        # Lightning to 2.6 builds a class that torch 2.9 and later deprecate.
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning, "lightning")
        # DDP looks for unused weights each step, and says so where it finds none.
        warnings.filterwarnings("ignore", ".*find_unused_parameters=True", UserWarning)
        yield


@quiet()
def launch(config: TrainingConfig) -> lightning.Fabric:
    """Lightning on the devices asked for; starts the other processes, where there are some.

    What every process would refuse is refused before they start.

    Raises:
        ConfigError: the devices are not there, do not share a step evenly, or do not all come.
    """
    # Lightning announces its devices and its makers' services at INFO.
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    asked = f"devices={config.devices}, num_nodes={config.num_nodes}"
    check_devices(config)
    gpu = torch.cuda.is_available()
    devices = config.devices if gpu or config.devices != "auto" else 1
    try:
        fabric = lightning.Fabric(
            accelerator="auto",
            devices=devices,
            num_nodes=config.num_nodes,
            strategy=_strategy(config, devices),
            precision="bf16-mixed" if precision_of(config, gpu=gpu) == "bf16" else "32-true",
        )
        check_shares(config, fabric.world_size)
        waits = fabric.world_size > 1
        if waits and _shared:
            raise ConfigError(
                f"{asked} would wait for processes that ended with the training before "
                f"({_shared[-1]}); give this one devices=1, or a command of its own"
            )
        with _ending_with_each_other(), _interrupted_at_once(waits=waits):
            fabric.launch()
    # Lightning names what is missing in exceptions of its own and in plain ones.
    except (
        ValueError,
        RuntimeError,
        MisconfigurationException,
    ) as error:
        said = " ".join(str(error).split())[:300].rstrip(".")
        if "timed out" in said.lower() or "timeout" in said.lower():
            raise ConfigError(
                f"waited up to {time_text(PATIENCE.total_seconds())} for all processes of {asked}, "
                f"each of which opens the scenes first, and some did not come "
                f"({said}); see what those say, whether each machine reaches the first "
                "(MASTER_ADDR), or give fewer scenes"
            ) from error
        raise ConfigError(
            f"{asked}, strategy={config.strategy} cannot run here ({said}); choose others "
            "(geofm doctor)"
        ) from error
    if waits:
        _shared.append(asked)
    return fabric


@contextmanager
def _ending_with_each_other() -> Iterator[None]:
    """Processes that are started inside end when this one has, instead of waiting for it."""
    starter = os.environ.get(_STARTER)
    if starter and os.name == "posix":
        Thread(target=_end_after, args=(int(starter),), name="geofm-starter", daemon=True).start()
    os.environ[_STARTER] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[_STARTER]


def _end_after(process: int) -> None:
    """Wait for another process to end, and end this one."""
    try:
        while True:
            os.kill(process, 0)  # sends nothing
            time.sleep(1)
    except ProcessLookupError:
        os._exit(1)


@contextmanager
def _interrupted_at_once(*, waits: bool) -> Iterator[None]:
    """Let Ctrl-C end this process while it waits in torch's C++, which never asks Python."""
    mine = current_thread() is main_thread() and getsignal(SIGINT) is default_int_handler
    if not waits or not mine:
        yield
        return
    signal(SIGINT, SIG_DFL)
    try:
        yield
    finally:
        signal(SIGINT, default_int_handler)


def first_alone(fabric: lightning.Fabric, compute: Callable[[], T]) -> T:
    """What the first process finds, which it tells the others; they wait and compute nothing.

    Where it is refused, the first alone says so, and the others end, with exit code 0.

    Args:
        compute: gives something that can be pickled.

    Raises:
        GeofmError: as ``compute`` does.
    """
    found: T | GeofmError | None = None
    if fabric.is_global_zero:
        try:
            found = compute()
        except GeofmError as error:  # or the others would wait for an answer
            found = error
    found = fabric.broadcast(found)
    if isinstance(found, GeofmError):
        if not fabric.is_global_zero:
            raise SystemExit(0)
        raise found
    return cast(T, found)


def check_devices(config: TrainingConfig) -> None:
    """Refuse devices and machines that cannot train, as far as the config and this process tell.

    Takes no time: to be asked before anything is read.

    Raises:
        ConfigError: several machines, and nothing tells this one of the others; or the devices
            do not share a step evenly.
    """
    started = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    # Those who start each process themselves tell Lightning so.
    by_hand = "MASTER_ADDR" in os.environ or "NODE_RANK" in os.environ
    if config.num_nodes > 1 and not by_hand and not any(kind.detect() for kind in started):
        nodes, each = config.num_nodes, "gpu" if config.devices == "auto" else config.devices
        raise ConfigError(
            f"num_nodes is {nodes}, and nothing tells this process of the other machines; start "
            f"it on each by torchrun (torchrun --nnodes {nodes} --nproc-per-node {each} "
            "--rdzv-backend c10d --rdzv-endpoint HOST:PORT -m geofm ...), or on all by SLURM "
            f"(srun --nodes {nodes} --ntasks-per-node {each} geofm ...)"
        )
    if config.devices != "auto":
        check_shares(config, config.devices * config.num_nodes)


def check_shares(config: TrainingConfig, world: int) -> None:
    """Refuse a step that processes cannot share evenly.

    Raises:
        ConfigError: ``batch_size`` is no multiple of processes times ``accumulate``.
    """
    if config.batch_size % (world * config.accumulate):
        parts = f", each in {config.accumulate} parts" if config.accumulate > 1 else ""
        raise ConfigError(
            f"batch_size is {config.batch_size}; needed a multiple of {world * config.accumulate}, "
            f"for {counted(world, 'device')} that share its samples{parts}"
        )


def precision_of(config: TrainingConfig, *, gpu: bool) -> str:
    """``"bf16"`` or ``"fp32"``; ``"auto"`` is bf16 where the device multiplies it fast."""
    if config.precision != "auto":
        return config.precision
    native = torch.cuda.get_device_capability() >= (8, 0) if gpu else bfloat16_flags()
    return "bf16" if native else "fp32"


def _strategy(config: TrainingConfig, devices: int | str) -> str | Strategy:
    """Lightning's strategy for the config's word."""
    match config.strategy:
        case "auto" if devices == 1 and config.num_nodes == 1:
            return "auto"
        case "fsdp":
            from lightning.fabric.strategies.model_parallel import ModelParallelStrategy

            here = torch.cuda.device_count() if devices == "auto" else int(devices)
            return ModelParallelStrategy(
                spread,
                data_parallel_size=here * config.num_nodes,
                tensor_parallel_size=1,
                timeout=PATIENCE,
            )
        case _:
            from lightning.fabric.strategies.ddp import DDPStrategy

            # A step may leave weights unused: codes dropped out, blocks that no head reads.
            return DDPStrategy(find_unused_parameters=True, timeout=PATIENCE)


@contextmanager
def compiled(model: nn.Module, config: TrainingConfig) -> Iterator[str]:
    """Compile a model while it trains, where that is asked for or pays.

    Yields:
        Why it is not compiled although that was asked for; else nothing.
    """
    wanted = config.compile == "yes" or (
        config.compile == "auto" and torch.cuda.is_available() and config.steps >= LONG_RUN
    )
    missing = _lacking_to_compile(config) if wanted else ""
    if not wanted or missing:
        yield f"not compiled: {missing}" if missing else ""
        return
    before = model._compiled_call_impl  # noqa: SLF001  torch offers no way back
    model.compile()
    try:
        yield ""
    finally:
        model._compiled_call_impl = before  # noqa: SLF001


def _lacking_to_compile(config: TrainingConfig) -> str:
    """Why torch.compile cannot work here, such as what it needs."""
    if config.strategy == "fsdp":
        return "the weights are spread"
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    if not any(name and shutil.which(name) for name in names):
        return "no C++ compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "no headers of Python"
    if torch.cuda.is_available() and find_spec("triton") is None:
        return "no triton"
    return ""


@contextmanager
def recomputed(model: nn.Module, *, on: bool) -> Iterator[None]:
    """Let transformer blocks forget what they can compute again, while the model trains."""
    found = [module for module in model.modules() if isinstance(module, Blocks)]
    before = [blocks.recompute for blocks in found]
    for blocks in found:
        blocks.recompute = on or blocks.recompute
    try:
        yield
    finally:
        for blocks, was in zip(found, before, strict=True):
            blocks.recompute = was


@contextmanager
def own_random_state(fabric: lightning.Fabric) -> Iterator[None]:
    """Seeds set inside do not reach the caller."""
    gpus = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        yield


@contextmanager
def told_to_stop(*, listen: bool) -> Iterator[Callable[[], Signals | None]]:
    """Note SIGTERM and the first Ctrl-C instead of dying of them.

    Args:
        listen: False leaves signals as they are: nothing would be kept anyway.

    Yields:
        A function that tells the signal that came.
    """
    came: list[Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came and number == SIGINT:
            default_int_handler(number, frame)  # a second Ctrl-C means now
        came.append(Signals(number))

    if not listen or current_thread() is not main_thread():
        yield lambda: None
        return
    before = {number: getsignal(number) for number in (SIGTERM, SIGINT)}
    for number in before:
        signal(number, note)
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal(number, handler)
