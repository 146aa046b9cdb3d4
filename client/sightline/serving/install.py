"""The embedded Triton: the wheel that carries it, in an environment of its own, installed once.

    <cache>/triton-<hash>/            a virtual environment, made by this program's Python
    ├── bin/python
    ├── lib/…/pytriton/tritonserver/  the binary, as the wheel has it
    └── backends/python/              the Python backend beside the stub for this Python

<cache> is :func:`sightline.base.resources.cache_folder`. The hash is over the lock and the Python, so another
lock gets another folder.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from sightline.base.redact import redact
from sightline.base.resources import cache_folder
from sightline.errors import ServerError

PYTHONS = ((3, 11), (3, 12))  # first and last with a stub in the wheel and a numpy that fits it
INSTALL_TIMEOUT_S = 1800.0
_LAYOUT = "1"  # counts changes of what install() makes around the packages
# The stub ignores PYTHONPATH: this line in the environment lets the models import what we name.
_PATH_HOOK = (
    "import os, sys; "
    "sys.path += filter(None, os.environ.get('SIGHTLINE_BACKEND_PATH', '').split(os.pathsep))\n"
)
#: Variables that the server and its models may have, by how they begin.
_HANDED_ON = ("HOME", "LANG", "LC_", "TZ", "TMPDIR", "XDG_", "CUDA_", "NVIDIA_")

#: Options of pip for a lock with hashes.
PINNED = ("--no-deps", "--only-binary", ":all:", "--require-hashes")

Say = Callable[[str], object]


class Installation:
    """Where the parts of an installed server are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages = folder / "lib" / f"python{_python()}" / "site-packages"
        self.binary = self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"
        self.libraries = self.packages / "nvidia_pytriton.libs"  # shared ones, that the wheel brings
        self.backends = folder / "backends"  # what ``--backend-directory`` takes

    def environment(self, *backend_paths: Path) -> dict[str, str]:
        """The variables that the server runs with; its models import from ``backend_paths`` too.

        Of ours it gets what is known to be no secret.
        """
        own = sysconfig.get_config_var("LIBDIR")  # of a Python outside the system's folders, perhaps
        beside = own and any(Path(own).glob(f"libpython{_python()}.so*"))
        inherited = os.environ.get("LD_LIBRARY_PATH")  # some machines name the GPU's driver there
        libraries = filter(None, [str(self.libraries), own if beside else None, inherited])
        return {
            **{key: value for key, value in os.environ.items() if key.startswith(_HANDED_ON)},
            **{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # the cores are the network's
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)]),
            "SIGHTLINE_BACKEND_PATH": os.pathsep.join(map(str, backend_paths)),
            "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written into the model repository
        }


def install(on_progress: Say = print) -> Path:
    """Install the server's environment unless it is there, safe while others do the same; gives its folder.

    ``on_progress`` gets a line for each step that takes time. ServerError: this machine cannot run the wheel.
    """
    return _install("triton", [_LAYOUT], on_progress, finish=_finish)


def install_rtx(on_progress: Say = print) -> Path:
    """Install what :mod:`rtx` imports (TensorRT-RTX, NVIDIA's licence) unless it is there; its packages."""
    return Installation(_install("rtx", [], on_progress)).packages


def _install(name: str, more: Sequence[str], on_progress: Say, **options: Any) -> Path:
    check_platform()
    lock = files("sightline.serving").joinpath("data", f"{name}.txt").read_bytes()
    parts = [lock, *(text.encode() for text in (_python(), *more))]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
    return install_packages(f"{name}-{key}", lock, on_progress, **options)


def install_packages(
    name: str,
    lock: bytes,
    on_progress: Say,
    *,
    options: Sequence[str] = PINNED,
    finish: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Make the environment ``name`` in the cache folder from a list of packages, unless it is there.

    It is made beside its place and renamed, so what is there is whole; a lock file keeps others waiting.
    ``options`` are pip's; ``finish`` gets the draft of the environment when the packages are in it.
    ServerError: it could not be installed; nothing is left behind.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{name}.lock").open("w") as file:
            # The kernel lets go of it when the process ends, however it ends.
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_progress(f"another process is installing into {folder}; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            for stale in folder.parent.glob(f".{name}-*"):  # of an install that was interrupted
                shutil.rmtree(stale, ignore_errors=True)
            if not folder.is_dir():
                on_progress(f"installing once into {folder} (a few hundred MB to fetch)")
                draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
                try:
                    (draft / "lock.txt").write_bytes(lock)
                    began = time.monotonic()
                    _run([sys.executable, "-m", "venv", str(draft)], on_progress, began)
                    pip(draft, [*options, "-r", str(draft / "lock.txt")], on_progress, began)
                    finish(draft)
                    draft.rename(folder)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
                on_progress(f"{folder} is installed")
    except OSError as error:
        raise ServerError(
            f"cannot install into {folder.parent}: {error}; name another folder in SIGHTLINE_CACHE"
        ) from error
    return folder


def check_platform() -> None:
    """Raise a :class:`ServerError` when the wheel's binaries cannot run here."""
    why = ""
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "AMD64"}:
        why = f"runs on Linux on x86_64 only, this is {platform.system()} on {platform.machine()}: "
    elif platform.libc_ver()[0] != "glibc":
        why = "needs glibc 2.34 or newer, this system has another C library: "
    elif not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        known = " to ".join(".".join(map(str, version)) for version in PYTHONS)
        why = f"does not work with Python {_python()}: use a Python of {known}, or "
    if why:
        remedy = "run a Triton container elsewhere and name it in config.yml (triton.url)"
        raise ServerError(f"the embedded Triton {why}{remedy}")


def _finish(draft: Path) -> None:
    """Put the Python backend and this Python's stub into one folder, and the path hook into the packages."""
    wheel = Installation(draft).packages / "pytriton" / "tritonserver"
    stub = wheel / "python_backend_stubs" / _python() / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServerError(f"the wheel has no stub for Python {_python()}")
    shutil.copytree(wheel / "backends" / "python", draft / "backends" / "python")
    shutil.copy2(stub, draft / "backends" / "python")
    (Installation(draft).packages / "sightline_backend_path.pth").write_text(_PATH_HOOK)


def pip(folder: Path, arguments: Sequence[str], on_progress: Say, began: float | None = None) -> None:
    """Have an environment's pip install something; a ServerError has the last lines of its output.

    ``began`` is when all of the installing did, by the monotonic clock; None: now.
    """
    program = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*program, "install", "--quiet", *arguments], on_progress, began)


def _run(command: Sequence[str], on_progress: Say, began: float | None) -> None:
    """Run to the end; says every ten seconds that it goes on, and since when."""
    started = time.monotonic()
    began = started if began is None else began
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            while child.poll() is None:
                passed = time.monotonic() - started
                if passed > INSTALL_TIMEOUT_S:
                    raise ServerError(f"installing did not end within {INSTALL_TIMEOUT_S:.0f} s")
                if passed > 1:
                    on_progress(f"still installing ({time.monotonic() - began:.0f} s)")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(10)
        finally:
            child.kill()
            child.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        last = redact(" / ".join(line.strip() for line in text.strip().splitlines()[-4:]))
        why = f"packages could not be installed (is the package index reachable?): {last}"
        if "ensurepip" in text:
            why = f"this Python cannot make environments; Debian: apt-get install python3-venv ({last})"
        elif "No space left" in text:
            another = "name another folder in SIGHTLINE_CACHE"
            why = f"no space to install into {cache_folder()}; {another} ({last})"
        raise ServerError(why)


def _python() -> str:
    return ".".join(map(str, sys.version_info[:2]))
