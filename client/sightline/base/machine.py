"""What a figure was measured on, for the reports of all tools."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """How one NVIDIA GPU does; None: it does not tell."""

    name: str
    busy: float | None  # 0..1, share of the last moment in which something was computed
    memory_used: float | None  # bytes
    memory: float | None  # bytes
    celsius: float | None


def describe() -> str:
    """Processor, cores and system in one line."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def processor() -> str:
    """The processor's name, or its architecture where the system does not tell the name."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", path.read_text() if path.is_file() else "", re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def gpu(fields: str = "name") -> str | None:
    """What nvidia-smi says of the first GPU, such as ``name,driver_version``; None where there is none."""
    return next(iter(_nvidia_smi(fields)), None)


def gpus() -> list[Gpu]:
    """How each GPU of this machine does now; takes up to a second. Empty where there is none."""
    lines = _nvidia_smi("name,utilization.gpu,memory.used,memory.total,temperature.gpu", "nounits", 10.0)
    found = []
    for line in lines:
        name, *texts = line.rsplit(",", 4)
        busy, used, memory, celsius = (_number(text) for text in texts)
        found.append(Gpu(name, _times(busy, 0.01), _times(used, _MIB), _times(memory, _MIB), celsius))
    return found


def _nvidia_smi(fields: str, more: str = "", timeout_s: float = 60.0) -> list[str]:
    form = ",".join(filter(None, ("csv,noheader", more)))
    command = ["nvidia-smi", f"--query-gpu={fields}", f"--format={form}"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()


def _number(text: str) -> float | None:
    with suppress(ValueError):  # [N/A], as of a part of a GPU
        return float(text)
    return None


def _times(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit
