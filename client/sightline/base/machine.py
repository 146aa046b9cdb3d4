"""What a figure was measured on, for the reports of all tools."""

import os
import platform
import re
import subprocess
from pathlib import Path


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
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.strip().splitlines()), None)
