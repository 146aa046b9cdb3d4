"""The embedded Triton answers its owner's programs and nobody else."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient

from sightline.config import TritonOptions
from sightline.errors import AdminError
from sightline.inference.client import TritonConnection
from sightline.models.registry.triton_admin import TritonAdmin
from sightline.serving.owners_port import owner_of
from sightline.serving.server import TritonServer, get, remove_what_the_dead_left
from sightline.simulation.rtsp_server import free_port

NOBODY = 65534
SECRETS = {"SIGHTLINE_DB_PASSWORD": "secret-1", "AWS_SECRET_ACCESS_KEY": "secret-2"}
pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def server(toy_repository, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        log = tmp_path_factory.mktemp("closed") / "log"
        with TritonServer(toy_repository, grpc_port=free_port(), log_path=log) as server:
            yield server


def run_as_nobody(code):
    """What a program says that another user of this machine runs."""
    program = f"""
import glob, os
import grpc  # what root alone may read is imported before
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
{code}"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@needs_root
@pytest.mark.parametrize("where", ["port", "socket"])
def test_another_user_can_neither_read_nor_load(server, where):
    url = f"127.0.0.1:{server.grpc_port}" if where == "port" else server.grpc_url
    asked = f"""
stub = GRPCInferenceServiceStub(grpc.insecure_channel({url!r}))
for call, request in (
    (stub.ServerLive, pb.ServerLiveRequest()),
    (stub.RepositoryIndex, pb.RepositoryIndexRequest()),
    (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="detector")),
    (stub.SystemSharedMemoryStatus, pb.SystemSharedMemoryStatusRequest()),
):
    try:
        call(request, timeout=5)
        print("ANSWERED", call)
    except grpc.RpcError as error:
        print(error.code().name)
"""
    assert set(run_as_nobody(asked).split()) == {"UNAVAILABLE"}
    with InferenceServerClient(url) as client:  # its owner's programs are answered at both
        assert [model.name for model in client.get_model_repository_index().models]


@needs_root
def test_another_user_opens_nothing_of_it_in_shared_memory(server):
    code = f"""
for path in ({str(server.folder)!r}, *glob.glob({str(server.folder) + "-*"!r})):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
        print("OPENED", path)
    except PermissionError:
        print("refused")
"""
    assert set(run_as_nobody(code).split()) == {"refused"}


def test_its_memory_and_sockets_were_never_anybody_elses(server):
    regions = [*server.folder.parent.glob(f"{server.folder.name}-*")]
    assert regions, "the Python backend has its region"
    modes = {
        path: path.stat().st_mode & 0o077 for path in [*regions, server.folder, *server.folder.iterdir()]
    }
    assert set(modes.values()) == {0}, modes


def test_it_has_none_of_our_secrets(server):
    processes = [server.pid, *_children(server.pid)]
    assert len(processes) > 1, "the stub runs"
    for pid in processes:
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode()
        assert not [value for value in SECRETS.values() if value in environment]


def _children(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_no_port_is_a_web_pages_to_use(server):
    """A page can have the owner's browser send HTTP to loopback: what listens there does not speak it."""
    with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=5) as browser:
        body = b'{"parameters": {}}'
        browser.sendall(
            b"POST /v2/repository/models/detector/load HTTP/1.1\r\nHost: evil.example\r\n"
            b"Origin: http://evil.example\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/1.1 200" not in browser.recv(4096)
    assert get(server.folder / "http", "/v2/health/ready")[0] == 200


def test_the_owner_of_a_connection_is_known_while_it_lasts():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as one:
            mine = one.getsockname()[1]
            assert owner_of(mine, port) == os.getuid()
            with listener.accept()[0]:
                pass
        assert owner_of(mine, port) is None
        with socket.socket(socket.AF_INET6) as six:
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            six.connect(("::ffff:127.0.0.1", port))
            assert owner_of(six.getsockname()[1], port) == os.getuid()


def test_what_a_killed_owner_left_is_removed_and_a_live_neighbours_is_not(server, toy_repository, tmp_path):
    code = f"""
from pathlib import Path
from sightline.serving.server import TritonServer
server = TritonServer(Path({str(toy_repository)!r}), log_path=Path({str(tmp_path / "log")!r}))
server._open_ports()
(server.folder.parent / (server.folder.name + "-region")).touch()
print(server.folder, flush=True)
os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    left = subprocess.run(
        [sys.executable, "-c", "import os\n" + code], capture_output=True, text=True, check=False
    )
    folder = Path(left.stdout.strip())
    assert folder.is_dir()
    remove_what_the_dead_left()
    assert not [*folder.parent.glob(f"{folder.name}*")]
    assert server.folder.is_dir()


class LockedServer(TritonServer):
    """As deploy/triton.sh starts it."""

    def _command(self, installation):
        restricted = "--grpc-restricted-protocol=model-repository,logging,trace:sightline=abc"
        return [*super()._command(installation), restricted]


def test_models_are_managed_by_those_who_have_the_key(toy_repository, tmp_path, monkeypatch):
    with LockedServer(toy_repository, log_path=tmp_path / "log") as server:
        with TritonAdmin(server.grpc_url) as admin, pytest.raises(AdminError, match="restricted"):
            admin.load("detector")
        with TritonConnection(TritonOptions(url=server.grpc_url), "camera") as connection:
            assert connection.model().connect().name == "detector"  # a client needs no key
        monkeypatch.setenv("SIGHTLINE_TRITON_KEY", "abc")
        with TritonAdmin(server.grpc_url) as admin:
            admin.load("detector")
            assert admin.ready("detector")
            assert admin.probe("detector")
