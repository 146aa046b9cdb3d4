"""The embedded Triton: the wheel that carries it, in an environment of its own, installed once.

    <cache>/triton-<hash>/            a virtual environment, made by this program's Python
    ├── bin/python
    ├── lib/…/pytriton/tritonserver/  the binary, as the wheel has it
    └── backends/python/              the Python backend beside the stub for this Python

<cache> is :func:`sightline.base.cache.cache_folder`. The hash is over the lock and the Python, so another
lock gets another folder.
"""

from __future__ import annotations

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from sightline.base.cache import cache_folder
from sightline.base.redact import redact
from sightline.errors import ServerError

PYTHONS = ((3, 11), (3, 12))  # first and last with a stub in the wheel and a numpy that fits it
INSTALL_TIMEOUT_S = 900.0
_LAYOUT = "1"  # counts changes of what install() makes around the packages
# The stub ignores PYTHONPATH: this line in the environment lets the models import what we name.
_PATH_HOOK = (
    "import os, sys; "
    "sys.path += filter(None, os.environ.get('SIGHTLINE_BACKEND_PATH', '').split(os.pathsep))\n"
)

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the parts of an installed server are."""

    folder: Path

    @property
    def packages(self) -> Path:
        """The environment's packages."""
        return self.folder / "lib" / f"python{_python()}" / "site-packages"

    @property
    def binary(self) -> Path:
        """The server program."""
        return self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def libraries(self) -> Path:
        """The shared libraries that the wheel brings."""
        return self.packages / "nvidia_pytriton.libs"

    @property
    def backends(self) -> Path:
        """What ``--backend-directory`` takes."""
        return self.folder / "backends"

    def environment(self, *backend_paths: Path) -> dict[str, str]:
        """The variables that the server runs with.

        Args:
            backend_paths: the folders from which the models import ``sightline`` and what else they need.
        """
        libraries = [str(self.libraries)]
        own = sysconfig.get_config_var("LIBDIR")
        if own and list(Path(own).glob(f"libpython{_python()}.so*")):
            libraries.append(own)  # a Python outside the system's folders, with its library beside it
        if os.environ.get("LD_LIBRARY_PATH"):
            libraries.append(os.environ["LD_LIBRARY_PATH"])  # some machines name the GPU's driver there
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the cores are the network's
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
            **threads,
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)]),
            "SIGHTLINE_BACKEND_PATH": os.pathsep.join(map(str, backend_paths)),
            "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written into the model repository
        }


def install(on_progress: Say = print) -> Path:
    """Install the server's environment unless it is there; safe while others do the same.

    Args:
        on_progress: gets a line of text for each step that takes time.

    Returns:
        The environment's folder; its Python is ``bin/python``.

    Raises:
        ServerError: this machine cannot run the wheel, or it could not be installed.
    """
    check_platform()
    lock = files("sightline.serving").joinpath("data", "triton.txt").read_bytes()
    key = hashlib.sha256(b"\0".join([lock, _python().encode(), _LAYOUT.encode()])).hexdigest()[:12]
    return install_packages(f"triton-{key}", lock, on_progress, finish=_finish)


def install_rtx(on_progress: Say = print) -> Path:
    """Install what :mod:`rtx` imports (TensorRT-RTX, NVIDIA's licence) unless it is there.

    Returns:
        The folder of the packages, for the server's Python backend.

    Raises:
        ServerError: it could not be installed.
    """
    check_platform()
    lock = files("sightline.serving").joinpath("data", "rtx.txt").read_bytes()
    key = hashlib.sha256(b"\0".join([lock, _python().encode()])).hexdigest()[:12]
    return Installation(install_packages(f"rtx-{key}", lock, on_progress)).packages


def install_packages(
    name: str, lock: bytes, on_progress: Say, *, finish: Callable[[Path], None] = lambda _: None
) -> Path:
    """Make the environment ``name`` in the cache folder from a hash-pinned lock, unless it is there.

    It is made beside its place and renamed, so what is there is whole; a lock file keeps others waiting.

    Raises:
        ServerError: it could not be installed; nothing is left behind.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_name(f".{name}.lock"), on_progress):
            for stale in folder.parent.glob(f".{name}-*"):  # of an install that was interrupted
                shutil.rmtree(stale, ignore_errors=True)
            if not folder.is_dir():
                _make(folder, lock, on_progress, finish)
    except OSError as error:
        raise ServerError(
            f"cannot install into {folder.parent}: {error}; name another folder in SIGHTLINE_CACHE"
        ) from error
    return folder


def check_platform() -> None:
    """Raise a :class:`ServerError` when the wheel's binaries cannot run here."""
    remedy = "run a Triton container elsewhere and name it in config.yml (triton.url)"
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "AMD64"}:
        found = f"{platform.system()} on {platform.machine()}"
        raise ServerError(f"the embedded Triton runs on Linux on x86_64 only, this is {found}: {remedy}")
    if platform.libc_ver()[0] != "glibc":
        raise ServerError(
            f"the embedded Triton needs glibc 2.34 or newer, this system has another C library: {remedy}"
        )
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        known = " to ".join(".".join(map(str, version)) for version in PYTHONS)
        raise ServerError(
            f"the embedded Triton does not work with Python {_python()}: use a Python of {known}, or {remedy}"
        )


def _make(folder: Path, lock: bytes, on_progress: Say, finish: Callable[[Path], None]) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        on_progress(f"installing the server's packages once into {folder} (about 130 MB to fetch)")
        (draft / "lock.txt").write_bytes(lock)
        _run([sys.executable, "-m", "venv", str(draft)], on_progress)
        pip = [
            str(draft / "bin" / "python"),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
        ]
        pip += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(draft / "lock.txt")]
        _run(pip, on_progress)
        finish(draft)
        draft.rename(folder)
        on_progress("the server's packages are installed")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _finish(draft: Path) -> None:
    """Put the Python backend and this Python's stub into one folder, and the path hook into the packages."""
    wheel = Installation(draft).packages / "pytriton" / "tritonserver"
    stub = wheel / "python_backend_stubs" / _python() / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServerError(f"the wheel has no stub for Python {_python()}")
    shutil.copytree(wheel / "backends" / "python", draft / "backends" / "python")
    shutil.copy2(stub, draft / "backends" / "python")
    (Installation(draft).packages / "sightline_backend_path.pth").write_text(_PATH_HOOK)


def _run(command: Sequence[str], on_progress: Say) -> None:
    """Run to the end; says every ten seconds that it goes on.

    Raises:
        ServerError: it failed or took too long; the last lines of its output are in the text.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            while _still_runs(child):
                passed = time.monotonic() - started
                if passed > INSTALL_TIMEOUT_S:
                    raise ServerError(f"installing did not end within {INSTALL_TIMEOUT_S:.0f} s")
                on_progress(f"still installing ({passed:.0f} s)")
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            output.seek(0)
            raise ServerError(_explain(output.read().decode(errors="replace")))


def _still_runs(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        return True
    return False


def _explain(output: str) -> str:
    last = redact(" / ".join(line.strip() for line in output.strip().splitlines()[-4:]))
    if "ensurepip" in output:
        return f"this Python cannot make environments; Debian: apt-get install python3-venv ({last})"
    if "No space left" in output:
        return f"no space to install into {cache_folder()}; name another folder in SIGHTLINE_CACHE ({last})"
    return f"the server's packages could not be installed (is the package index reachable?): {last}"


@contextmanager
def _alone(path: Path, on_progress: Say) -> Iterator[None]:
    """Hold a lock file; the kernel lets go of it when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("another process is installing the server; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _python() -> str:
    return ".".join(map(str, sys.version_info[:2]))
