"""One pretraining step of a 100M masked autoencoder, here and in the reference, in turns.

    uv venv .peers && uv pip install --python .peers/bin/python terratorch
    python tests/bench/mae_step.py [ROUNDS] [PEER_PYTHON]

Forward, backward and AdamW on 8 images of 224 px, 6 bands, one date and three: Prithvi-EO-1.0's
100M shape, patch 16, three quarters hidden. Each side is a process of its own that steps when it
is asked to; a round asks every way to run once, and the matrix product's ceiling with them, so
that a busy machine slows all alike. Ratios are medians over rounds. bfloat16 is measured where
the processor or the GPU multiplies in it; elsewhere it is emulated and says nothing.

Prints one JSON line: for one date and three, samples a second, how often they are the
reference's, and which share of the ceiling the products of the step alone come to (on a GPU: of
bfloat16's ceiling, the MFU).
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

SIDE, PATCH, BANDS, BATCH = 224, 16, 6, 8
WIDTH, DEPTH, HEADS = 768, 12, 12
DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS = 512, 8, 16
HIDDEN = 0.75


def main(rounds: int, peer: str) -> None:
    found = {}
    for dates in (1, 3):
        found[f"dates_{dates}"] = in_turns(dates, rounds, peer)
    print(json.dumps(found))


def in_turns(dates: int, rounds: int, peer: str) -> dict[str, Any]:
    """Step both sides in every way, in turns."""
    with Stepper("geofm", sys.executable, dates) as ours, Stepper("peer", peer, dates) as theirs:
        precisions = ["fp32", "bf16"] if ours.told["bf16"] else ["fp32"]
        ways = {f"reference_{name}": (theirs, f"{name} eager") for name in precisions}
        ways |= {f"geofm_{name}": (ours, f"{name} eager") for name in precisions}
        if ours.told["compiles"]:
            ways |= {f"geofm_{name}_compiled": (ours, f"{name} compiled") for name in precisions}
        ways |= {f"ceiling_{name}": (ours, f"{name} ceiling") for name in precisions}
        first = {name: side.ask(way) for name, (side, way) in ways.items()}
        # A compiler that fails costs its rows, no others.
        ways = {name: way for name, way in ways.items() if first[name] is not None}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (side, way) in ways.items():
                if (found := side.ask(way)) is not None:
                    seconds[name].append(found)
        return {
            "device": ours.told["device"],
            "gflop_a_sample": round(step_gflop(dates), 1),
            **summary(seconds, step_gflop(dates)),
            "first_step_compiled_s": first.get("geofm_fp32_compiled"),
            "peak_rss_mib": {"geofm": ours.stop(), "reference": theirs.stop()},
        }


def summary(seconds: dict[str, list[float]], gflop: float) -> dict[str, Any]:
    """Samples a second, ratios of the same round, shares of the same round's ceiling."""
    steps = {name: times for name, times in seconds.items() if not name.startswith("ceiling")}

    def ratio(above: str, below: str) -> float:
        pairs = zip(seconds[above], seconds[below], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 2)

    def share(name: str) -> float:
        ceiling = seconds["ceiling_bf16" if "bf16" in name else "ceiling_fp32"]
        pairs = zip(seconds[name], ceiling, strict=True)
        return round(statistics.median(BATCH * gflop / s * c for s, c in pairs), 2)

    ours = [name for name in steps if name.startswith("geofm")]
    told: dict[str, Any] = {
        "samples_per_s": {
            name: round(BATCH / statistics.median(times), 2) for name, times in steps.items()
        },
        "times_the_reference_as_shipped": {name: ratio("reference_fp32", name) for name in ours},
    }
    if "reference_bf16" in seconds:
        told["times_its_bf16"] = {
            name: ratio("reference_bf16", name) for name in ours if "bf16" in name
        }
    told["share_of_ceiling"] = {name: share(name) for name in steps}
    told["ceiling_gflop_per_s"] = {
        name.removeprefix("ceiling_"): round(1 / statistics.median(times))
        for name, times in seconds.items()
        if name.startswith("ceiling")
    }
    return told


def step_gflop(dates: int) -> float:
    """The products that a sample's step cannot do without, forward and backward.

    A product of the forward pass has two in the backward pass, one for what enters it and one
    for its weights; images need no gradient. Of the decoder's last block only the keys and
    values are needed of all tokens.
    """
    tokens = dates * (SIDE // PATCH) ** 2
    seen = int(tokens * (1 - HIDDEN))
    pixels = PATCH**2 * BANDS

    def blocks(n: int, width: int, depth: int) -> int:
        return depth * (12 * n * width**2 + 2 * n**2 * width)

    hidden, everything = tokens - seen, tokens + 1
    width = DECODER_WIDTH
    last = 2 * everything * width**2 + 10 * hidden * width**2 + 2 * hidden * everything * width
    products = (
        blocks(seen + 1, WIDTH, DEPTH)
        + (seen + 1) * WIDTH * width
        + blocks(everything, width, DECODER_DEPTH - 1)
        + last
        + hidden * width * pixels
    )
    return 2 * (3 * products + 2 * seen * pixels * WIDTH) / 1e9


class Stepper:
    """A process that holds one model and steps it when it is asked to."""

    def __init__(self, side: str, python: str, dates: int) -> None:
        self.process = subprocess.Popen(
            [python, __file__, f"--{side}", str(dates)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.told = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, way: str) -> float | None:
        """Seconds of a step, or of a GFLOP at the ceiling; None where it failed."""
        assert self.process.stdin
        self.process.stdin.write(f"{way}\n")
        self.process.stdin.flush()
        seconds: float | None = self._answer()["seconds"]
        return seconds

    def stop(self) -> int:
        """The most memory that the process held, MiB."""
        assert self.process.stdin
        self.process.stdin.close()
        return int(self._answer()["peak_rss_mib"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries print too
                told: dict[str, Any] = json.loads(line)
                return told
        raise SystemExit(f"{self.process.args!r} ended early")


# In the processes that step.


def serve(side: str, dates: int) -> None:
    """Answer each line of the standard input, such as "fp32 compiled", by the seconds it took."""
    # Of its own: what a killed run left half written in a shared one ends later ones.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(torch.get_num_threads())  # no fewer on a busy machine
    torch.manual_seed(0)
    step, compiled = (our_step if side == "geofm" else their_step)(dates, device)
    say(device=device, bf16=multiplies_bf16(device), compiles=compiled is not None)
    for line in sys.stdin:
        precision, way = line.split()
        match way:
            case "ceiling":
                say(seconds=ceiling(precision, device))
            case "eager":
                say(seconds=timed(step, precision, device))
            case _:
                try:
                    say(seconds=timed(compiled, precision, device))
                except Exception as error:
                    print(f"not compiled: {str(error)[:300]}", file=sys.stderr)
                    say(seconds=None)
    import resource

    say(peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def our_step(dates: int, device: str) -> tuple[Any, Any]:
    import torch

    from geofm.model.encoder import Encoder, EncoderConfig
    from geofm.model.mae import MaeConfig, MaskedAutoencoder
    from geofm.train.optim import parameter_groups

    encoder = EncoderConfig(
        bands=BANDS,
        dates=dates,
        image_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
    )
    options = MaeConfig(
        mask_ratio=HIDDEN,
        decoder_dim=DECODER_WIDTH,
        decoder_depth=DECODER_DEPTH,
        decoder_heads=DECODER_HEADS,
    )
    mae = MaskedAutoencoder(Encoder(encoder), options).to(device).train()
    groups = parameter_groups([(mae.parameters(), 1e-4)], weight_decay=0.05)
    optimizer = torch.optim.AdamW(groups, fused=True)
    x = torch.randn(BATCH, dates, BANDS, SIDE, SIDE, device=device)
    valid = torch.ones(BATCH, dates, SIDE, SIDE, dtype=torch.bool, device=device)
    eager = stepper(lambda: mae(x, valid).loss, optimizer, device)
    if not any(map(shutil.which, ("g++", "clang++"))):
        return eager, None
    graph = torch.compile(mae)
    return eager, stepper(lambda: graph(x, valid).loss, optimizer, device)


def their_step(dates: int, device: str) -> tuple[Any, Any]:
    """As a user of it would write it."""
    import warnings

    warnings.filterwarnings("ignore")
    import torch
    from terratorch.models.backbones.prithvi_mae import PrithviMAE

    mae = PrithviMAE(
        img_size=SIDE,
        num_frames=dates,
        patch_size=(1, PATCH, PATCH),
        in_chans=BANDS,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        decoder_embed_dim=DECODER_WIDTH,
        decoder_depth=DECODER_DEPTH,
        decoder_num_heads=DECODER_HEADS,
        mask_ratio=HIDDEN,
    )
    mae = mae.to(device).train()
    optimizer = torch.optim.AdamW(mae.parameters(), lr=1e-4)
    x = torch.randn(BATCH, BANDS, dates, SIDE, SIDE, device=device)
    return stepper(lambda: mae(x)[0]["loss"], optimizer, device), None


def stepper(loss: Callable[[], Any], optimizer: Any, device: str) -> Callable[[str], None]:
    import torch

    def step(precision: str) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        optimizer.step()

    return step


def timed(step: Callable[[str], None], precision: str, device: str) -> float:
    """Seconds of a step: a GPU's are too short to time one alone."""
    import torch

    repeats = 10 if device == "cuda" else 1
    started = time.perf_counter()
    for _ in range(repeats):
        step(precision)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats


def ceiling(precision: str, device: str) -> float:
    """Seconds of a GFLOP in a large square product, the best of a few."""
    import torch

    side, repeats = (8192, 10) if device == "cuda" else (2048, 1)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty_like(a)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, a, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - started) / repeats)
    return min(times) / (2 * side**3 / 1e9)


def multiplies_bf16(device: str) -> bool:
    """Whether bfloat16 is native: here only, or peers would need geofm."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


if __name__ == "__main__":
    if sys.argv[1:2] in (["--geofm"], ["--peer"]):
        serve(sys.argv[1].removeprefix("--"), int(sys.argv[2]))
    else:
        words = sys.argv[1:]
        main(int(words[0]) if words else 5, words[1] if len(words) > 1 else ".peers/bin/python")
