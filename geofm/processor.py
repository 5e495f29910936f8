"""What the CPU can compute fast."""

from pathlib import Path


def bfloat16_flags() -> tuple[str, ...]:
    """What the CPU has to multiply in bfloat16; empty where it would emulate.

    Flags as Linux names them: x86 https://docs.kernel.org/arch/x86/cpuinfo.html,
    Arm ``bf16`` and ``svebf16`` (hwcaps).
    """
    native = ("amx_bf16", "avx512_bf16", "bf16", "svebf16")
    for line in cpu_lines():
        if line.lower().startswith(("flags", "features")):
            flags = set(line.partition(":")[2].split())
            return tuple(name for name in native if name in flags)
    return ()


def cpu_lines() -> list[str]:
    """What Linux says of the CPU; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return []
