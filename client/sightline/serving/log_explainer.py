"""Why a Triton did not start: its log lines turned into a cause and a remedy."""

import re
import sys

from sightline.base.redact import redact

# Debian's packages of what the server and its Python stub need from the system.
_PACKAGES = {
    "libpython": f"libpython3.{sys.version_info[1]}",
    "libexpat": "libexpat1",
    "libz.": "zlib1g",
    "libstdc++": "libstdc++6",
    "libgcc_s": "libgcc-s1",
}
_EXPORT = "put a network there: sightline model export MODEL.onnx"
_REINSTALL = "remove the installation's folder, the next start makes it anew"

# What the log says (first match wins), and what we say; {0} is what the first group matched.
_CAUSES: dict[str, str] = {
    r"triton_python_backend_stub is not found": f"the Python backend's stub is missing; {_REINSTALL}",
    r"unable to find backend library for backend 'python'": f"the Python backend is missing; {_REINSTALL}",
    r"unable to find backend library for backend '(\w+)'": (
        "the configuration needs the backend {0!r}, which the embedded server has not; use the one named cpu"
    ),
    r"no network at ([^:\s]+)": f"there is no network at {{0}}; {_EXPORT}",
    r"no engine at ([^:\s]+)": "there is no TensorRT-RTX engine at {0}; build it: sightline model rtx build",
    r"cannot read the network ([^:\s]+)": f"{{0}} is not an ONNX network that can be read; {_EXPORT}",
    r"parameter '(\w+)' is missing": f"a configuration lacks the parameter {{0!r}}; {_EXPORT}",
    r"precision '(\w*)' is not one of": f"the CPU cannot run precision {{0!r}}; {_EXPORT}",
    r"No module named '([\w.]+)'": f"the server's environment has no module {{0!r}}; {_REINSTALL}",
    r"(\w+Error: [^\"\n]*\((?:model\.py|[\w./-]+\.py), line \d+\))": (
        "a Python model cannot be read: {0}; restore it from the checkout"
    ),
    r"Error parsing text-format inference\.ModelConfig: (\S+:.*)": (
        "a model's configuration cannot be read, at line:column {0}; restore it from the checkout"
    ),
    r"Failed to (?:increase|resize|initialize|open|create)[^\n]*shared memory|No space left on device": (
        "the folder /dev/shm is full or too small; the server needs some MB there (docker: --shm-size=256m)"
    ),
    r"interprocess::lock_exception": (  # a harmless line on CUDA stands before it
        "a lock in shared memory was waited for in vain, as on a machine that is too busy; start it again"
    ),
    r"failed to start \w+ [Ss]ervice|[Aa]ddress already in use": (
        "a port was taken while the server started; start again or choose other ports"
    ),
}
_LIBRARY = re.compile(r"loading shared libraries: ([^:\s]+)|(lib\S+?\.so[\w.]*): cannot open shared")
_STAMP = re.compile(r"^[EWI]\d{4} [\d:.]+\s+\d+ \S+ |^error: ")


def explain(log: str) -> str:
    """What went wrong, and what to do about it; ``log`` is what the server wrote until it ended."""
    if library := _LIBRARY.search(log):
        name = str(library[1] or library[2])
        if re.search(r"-[0-9a-f]{8}\.", name):  # the wheel's own libraries carry a hash in their names
            return f"the library {name} is missing from the installation; {_REINSTALL}"
        package = next((package for start, package in _PACKAGES.items() if name.startswith(start)), None)
        advice = f"Debian: apt-get install {package}" if package else "install the package that carries it"
        return f"the system library {name} is missing; {advice}"
    for pattern, text in _CAUSES.items():
        if found := re.search(pattern, log):
            return redact(text.format(*found.groups()))
    # The last lines that Triton itself marks as errors, else the last lines.
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"E\d{4} |error: ", line)] or lines
    return redact("; ".join(_STAMP.sub("", line)[:300] for line in errors[-2:]) or "it said nothing")
