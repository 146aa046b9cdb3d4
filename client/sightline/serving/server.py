"""A real Triton Inference Server on this machine, without a container: for development, demo and tests.

It listens on Unix sockets in a folder of its user's: this server is of 2024 and has known holes, and whoever
reaches it can have it run code. Production is the container.
"""

import contextlib
import fcntl
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Self

import sightline
from sightline.base.processes import ignore_fchmod, spawn, terminate
from sightline.base.resources import cache_folder
from sightline.errors import RepositoryError, ServerError
from sightline.serving import model_configs
from sightline.serving.install import Installation, Say, install, install_rtx
from sightline.serving.log_explainer import explain
from sightline.serving.owners_port import HOST, OwnersPort, bind

CPU = "cpu"  # the configuration that the embedded server uses unless told otherwise
RTX = "rtx"  # the one that needs TensorRT-RTX
READY_TIMEOUT_S = 180.0  # compiling a large network on a slow machine takes most of it
STOP_TIMEOUT_S = 15.0
_DRAIN_S = 5  # the server's own patience with requests in flight when it is told to stop
_SHM = Path("/dev/shm")  # noqa: S108 - where Linux has shared memory
_SHM_NAME = "sightline-triton-"
_GRPC_PORT, _HTTP_PORT, _METRICS_PORT = 8001, 8000, 8002  # to Triton a part of gRPC's socket's name


@dataclass(eq=False)
class TritonServer:
    """One server process and its stubs; usable as a context manager.

    One thread calls it. The server dies with the thread that started it.
    """

    model_repository: Path  # folder with ``detector`` and its steps
    _: KW_ONLY
    config_name: str = CPU  # ``configs/<name>.pbtxt`` is used where it exists, else ``config.pbtxt``
    models: Sequence[str] = ("detector",)  # to load; others can be loaded later
    grpc_port: int = 0  # gRPC for this user's programs that cannot use a Unix socket; 0: none
    metrics_port: int = 0  # metrics in Prometheus' format, for every user; 0: on a Unix socket only
    log_path: Path | None = None  # the output is appended here; a file in the cache folder when not given
    shared_memory: bool = True  # False refuses every registration of shared memory
    packages: Sequence[Path] = ()  # more folders that the models import from; the server's own come first
    grpc_url: str = field(default="", init=False)  # unix:PATH for clients; the same after a restart
    folder: Path = field(default=Path(), init=False)  # of the sockets ``http`` and ``metrics``, too
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.model_repository = self.model_repository.resolve()
        self.folder = _SHM / f"{_SHM_NAME}{os.getpid()}-{secrets.token_hex(4)}"
        self.grpc_url = f"unix:{self.folder / 'grpc'}:{_GRPC_PORT}"
        self._log = self.log_path or cache_folder() / "logs" / f"triton-{os.getpid()}.log"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the server, or a ServerError when it does not run."""
        if self._child is None:
            raise ServerError("Triton is not started")
        return self._child.pid

    def start(self, on_progress: Say = lambda _: None, timeout_s: float = READY_TIMEOUT_S) -> Self:
        """Install the server if need be, start it, and return when every model is ready.

        Raises a ServerError that names cause and remedy when it did not start; then nothing is left running.
        """
        if self._child is not None:
            raise ServerError("Triton is started already")
        self._check_repository()
        installation = Installation(install(on_progress))
        packages = [Path(sightline.__file__).resolve().parents[1]]
        packages += [install_rtx(on_progress)] if self.config_name == RTX else []
        remove_what_the_dead_left()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        before = _backend_folders()
        try:
            self._open_ports()
            with self._log.open("ab") as log:
                self._log_start = log.tell()
                environment = installation.environment(*packages, *self.packages)
                command = self._command(installation)
                self._child = spawn(command, log, environment=environment, prepare=ignore_fchmod)
        except (OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise ServerError(
                f"{installation.binary} cannot be run ({getattr(error, 'strerror', error)}): "
                f"remove {installation.folder}, it is then installed anew"
            ) from error
        except ServerError:
            self.stop()
            raise
        on_progress(f"starting on {self.model_repository}; log: {self._log}")
        try:
            self._wait_until_ready(on_progress, timeout_s)
        except BaseException:
            self._stack.callback(_remove_empty, _backend_folders() - before)
            self.stop()
            raise
        self._stack.callback(_remove_empty, _backend_folders() - before)
        on_progress(f"ready at {self.grpc_url}")
        return self

    def check(self) -> None:
        """Raise a :class:`ServerError` if the server has ended by itself."""
        code = self._child.poll() if self._child else None
        if code is None:
            return
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            log = file.read(1 << 20).decode(errors="replace")
        raise ServerError(f"Triton ended with code {code}: {explain(log)}; log: {self._log}")

    def stop(self) -> None:
        """End the server and its stubs and remove its shared memory; does nothing when it does not run."""
        if self._child is not None:
            terminate(self._child, STOP_TIMEOUT_S)
            self._child = None
        self._stack.close()

    def _open_ports(self) -> None:
        """Make the folder of the sockets, locked for as long as we live, and listen on the port."""
        draft = self.folder.with_name(f".{self.folder.name}")
        draft.mkdir(0o700)
        descriptor = os.open(draft, os.O_RDONLY)
        self._stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        draft.rename(self.folder)  # never seen without its lock
        self._stack.callback(_remove, self.folder)
        if self.metrics_port:
            bind(self.metrics_port, "metrics").close()  # it is taken: said better than Triton does
        if self.grpc_port:
            port = OwnersPort(bind(self.grpc_port, "gRPC"), self.folder / f"grpc:{_GRPC_PORT}")
            self._stack.callback(port.close)

    def _check_repository(self) -> None:
        """Refuse what cannot be served; write what the server reads, when the repository is one of ours."""
        folder = self.model_repository
        paths = [*folder.glob("*/config.pbtxt"), *folder.glob("*/configs/*.pbtxt")]
        known = sorted({path.relative_to(folder).parts[0] for path in paths})
        if not known:
            raise ServerError(f"{folder} is no model repository: it holds no */config.pbtxt")
        for model in self.models:
            if model not in known:
                raise ServerError(f"{folder} has no model {model!r}, only {', '.join(known)}")
            configured = folder / model / "configs" / f"{self.config_name}.pbtxt"
            python = configured.is_file() and 'backend: "python"' in configured.read_text()
            if python and not any(folder.glob(f"{model}/[0-9]*/model.py")):
                # The server would wait for ever on a stub that cannot begin.
                raise ServerError(f"{folder / model} has no <version>/model.py: restore it from the checkout")
        names = model_configs.config_names(folder) | {CPU}
        if self.config_name not in names:  # Triton would take config.pbtxt, which is of a GPU
            there = ", ".join(sorted(names))
            raise ServerError(f"{folder} has no configuration {self.config_name!r}, only {there}")
        if not (folder / "yolo").is_dir():
            return
        if not model_configs.versions(folder):
            raise ServerError(f"{folder} holds no network: put one there by `sightline model export`")
        try:
            model_configs.write(folder, [self.config_name])
        except (RepositoryError, OSError) as error:
            raise ServerError(f"the configurations cannot be written: {error}") from error

    def _command(self, installation: Installation) -> list[str]:
        ours = (self.model_repository / "yolo").is_dir()
        config_name = model_configs.served_name(self.config_name) if ours else self.config_name
        ports = {"grpc": _GRPC_PORT, "http": _HTTP_PORT, "metrics": self.metrics_port or _METRICS_PORT}
        options = [f"--{name}-port={port}" for name, port in ports.items()]
        addresses = {name: f"unix:{self.folder / name}" for name in ports}
        addresses |= {"metrics": HOST} if self.metrics_port else {}
        options += [f"--{name}-address={address}" for name, address in addresses.items()]
        if not self.shared_memory:
            options.append("--grpc-restricted-protocol=shared-memory:sightline-refused=1")
        return [
            str(installation.binary),
            f"--model-repository={self.model_repository}",
            f"--backend-directory={installation.backends}",
            f"--model-config-name={config_name}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self.models),
            f"--backend-config=python,shm-region-prefix-name={self.folder.name}-",
            f"--exit-timeout-secs={_DRAIN_S}",
            "--allow-gpu-metrics=false",
            *options,
        ]

    def _wait_until_ready(self, on_progress: Say, timeout_s: float) -> None:
        started = said = time.monotonic()
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):  # not listening yet
                if get(self.folder / "http", "/v2/health/ready")[0] == 200:
                    return
            self.check()
            now = time.monotonic()
            if now - started > timeout_s:
                raise ServerError(f"Triton was not ready within {timeout_s:.0f} s; log: {self._log}")
            if now - said > 5:
                said = now
                on_progress(f"loading the models ({now - started:.0f} s)")
            if self._child is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(0.05)  # wakes up at once when it ends


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def get(unix_socket: Path, path: str) -> tuple[int, bytes]:
    """Status and body of what is answered over HTTP on a Unix socket.

    Raises:
        OSError, http.client.HTTPException: there is no answer.
    """
    with contextlib.closing(_UnixConnection(unix_socket)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _backend_folders() -> set[Path]:
    """Folders of Python backends: each server makes one, and leaves it, empty, when it is killed."""
    return set(Path("/tmp").glob("python_env_*"))  # noqa: S108  the backend's own choice


def _remove_empty(folders: set[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # the server has removed it; it is another's, and not empty
            folder.rmdir()


def _remove(folder: Path) -> None:
    for region in folder.parent.glob(f"{folder.name}-*"):
        region.unlink(missing_ok=True)
    shutil.rmtree(folder)


def remove_what_the_dead_left() -> None:
    """Remove sockets and shared memory of this user's servers whose owners were killed with them."""
    for folder in _SHM.glob(f"{_SHM_NAME}*/"):
        with contextlib.suppress(PermissionError, FileNotFoundError):  # another user's; gone
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            except BlockingIOError:
                continue  # its owner lives
            finally:
                os.close(descriptor)
