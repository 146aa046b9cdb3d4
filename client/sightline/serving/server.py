"""A real Triton Inference Server on this machine, without a container: for development, demo and tests.

It listens on loopback only: this server is of 2024 and has known holes. Production is the container.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Self

import sightline
from sightline.base.processes import spawn, terminate
from sightline.base.resources import cache_folder
from sightline.errors import RepositoryError, ServerError
from sightline.serving import model_configs
from sightline.serving.install import Installation, Say, install, install_rtx
from sightline.serving.log_explainer import explain

HOST = "127.0.0.1"
RTX = "rtx"  # the configuration that needs TensorRT-RTX
READY_TIMEOUT_S = 180.0  # compiling a large network on a slow machine takes most of it
STOP_TIMEOUT_S = 15.0
_DRAIN_S = 5  # the server's own patience with requests in flight when it is told to stop
_SHM = Path("/dev/shm")  # noqa: S108 - where Linux has shared memory
_SHM_NAME = "sightline-triton-"


@dataclass(eq=False)
class TritonServer:
    """One server process and its stubs; usable as a context manager.

    One thread calls it. The server dies with the thread that started it.
    """

    model_repository: Path  # folder with ``detector`` and its steps
    _: KW_ONLY
    config_name: str = "cpu"  # ``configs/<name>.pbtxt`` is used where it exists, else ``config.pbtxt``
    models: Sequence[str] = ("detector",)  # to load; others can be loaded later
    grpc_port: int = 0  # 0 picks a free one, which is kept over restarts; so for the next two
    http_port: int = 0  # health and everything that gRPC has, over HTTP
    metrics_port: int = 0  # metrics in Prometheus' format
    log_path: Path | None = None  # the output is appended here; a file in the cache folder when not given
    shared_memory: bool = True  # False refuses every registration of shared memory
    packages: Sequence[Path] = ()  # more folders that the models import from; the server's own come first
    grpc_url: str = field(default="", init=False)  # host:port for clients; all three: known once the port is
    http_url: str = field(default="", init=False)
    metrics_url: str = field(default="", init=False)
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.model_repository = self.model_repository.resolve()
        self._use_ports(self.grpc_port, self.http_port, self.metrics_port)
        self._log = self.log_path or cache_folder() / "logs" / f"triton-{os.getpid()}.log"

    def _use_ports(self, grpc: int, http: int, metrics: int) -> None:
        self.grpc_port, self.http_port, self.metrics_port = grpc, http, metrics
        self.grpc_url, self.http_url = f"{HOST}:{grpc}", f"http://{HOST}:{http}"
        self.metrics_url = f"http://{HOST}:{metrics}/metrics"

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
        remove_regions_of_the_dead()
        self._use_ports(*free_ports((self.grpc_port, self.http_port, self.metrics_port)))
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._log.open("ab") as log:
                self._log_start = log.tell()
                environment = installation.environment(*packages, *self.packages)
                self._child = spawn(self._command(installation), log, environment=environment)
        except OSError as error:
            raise ServerError(
                f"{installation.binary} cannot be run ({error.strerror}): "
                f"remove {installation.folder}, it is then installed anew"
            ) from error
        on_progress(f"starting on {self.model_repository}; log: {self._log}")
        try:
            self._wait_until_ready(on_progress, timeout_s)
        except BaseException:
            self.stop()
            raise
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
        if self._child is None:
            return
        terminate(self._child, STOP_TIMEOUT_S)
        self._child = None
        for region in _SHM.glob(f"{self._region_prefix}*"):
            region.unlink(missing_ok=True)

    @property
    def _region_prefix(self) -> str:
        return f"{_SHM_NAME}{os.getpid()}-{self.grpc_port}-"

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
        ports = {"grpc": self.grpc_port, "http": self.http_port, "metrics": self.metrics_port}
        options = [f"--{name}-port={port}" for name, port in ports.items()]
        options += [f"--{name}-address={HOST}" for name in ports]
        if not self.shared_memory:
            options.append("--grpc-restricted-protocol=shared-memory:sightline-refused=1")
        return [
            str(installation.binary),
            f"--model-repository={self.model_repository}",
            f"--backend-directory={installation.backends}",
            f"--model-config-name={config_name}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self.models),
            f"--backend-config=python,shm-region-prefix-name={self._region_prefix}",
            f"--exit-timeout-secs={_DRAIN_S}",
            "--allow-gpu-metrics=false",
            *options,
        ]

    def _wait_until_ready(self, on_progress: Say, timeout_s: float) -> None:
        started = said = time.monotonic()
        while True:
            with (
                contextlib.suppress(OSError, http.client.HTTPException),  # not listening yet
                contextlib.closing(http.client.HTTPConnection(HOST, self.http_port, timeout=2)) as connection,
            ):
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == 200:
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


def free_ports(wanted: tuple[int, int, int]) -> tuple[int, int, int]:
    """Ports to listen on, 0 becomes a free one; or a ServerError that names the one that is taken."""
    listeners = [socket.socket() for _ in wanted]
    with contextlib.ExitStack() as held:  # all at once, so that no free one is given twice
        for name, port, listener in zip(("gRPC", "HTTP", "metrics"), wanted, listeners, strict=True):
            held.enter_context(listener).setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, port))
            except OSError as error:
                raise ServerError(
                    f"port {port} for Triton's {name} is taken or not allowed ({error.strerror}): "
                    "stop what listens there, or choose another (0 picks a free one)"
                ) from error
        first, second, third = (listener.getsockname()[1] for listener in listeners)
        return first, second, third


def remove_regions_of_the_dead() -> None:
    """Remove the shared memory of servers whose owners were killed with them."""
    for region in _SHM.glob(f"{_SHM_NAME}*"):
        owner = region.name.removeprefix(_SHM_NAME).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            region.unlink(missing_ok=True)
