"""The embedded server: installed once, started, killed, stopped, and every way in which it does not start."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from importlib.resources import files
from pathlib import Path

import psutil
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException, shared_memory

from sightline.errors import ServerError
from sightline.models.export import exporter
from sightline.serving import install as install_module
from sightline.serving import server as tritonserver
from sightline.serving.install import Installation, install, install_packages
from sightline.serving.log_explainer import explain
from sightline.serving.server import TritonServer
from support import toy
from support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
EMPTY_LOCK = b"# no package at all\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A repository with the toy network; copied by tests that break it."""
    folder = tmp_path_factory.mktemp("served")
    exporter.export_network(
        exporter.ExportOptions(
            toy.write_network(folder / "toy.onnx"), folder / "repository", shape=(192, 320)
        )
    )
    return folder / "repository"


@pytest.fixture
def repository(served, tmp_path):
    shutil.copytree(served, tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """A copy of the installation (links to its files) that a test may break; it is the one that is used."""
    folder = tmp_path / "installation"
    shutil.copytree(install(), folder, symlinks=True, copy_function=os.link)
    monkeypatch.setattr(tritonserver, "install", lambda on_progress: folder)
    return Installation(folder)


def refusal(repository, tmp_path, **options):
    """Why the server does not start; it leaves nothing behind."""
    before = what_runs()
    with pytest.raises(ServerError) as caught:
        TritonServer(repository, log_path=tmp_path / "triton.log", **options).start(timeout_s=60)
    assert what_runs() == before
    return str(caught.value)


def what_runs():
    """Regions and processes of every server of ours: other tests' servers may be up."""
    children = psutil.Process().children(recursive=True)
    return set(regions_of(os.getpid())), {child.pid for child in children if "triton" in child.name()}


def regions_of(pid):
    return [path.name for path in Path("/dev/shm").glob(f"sightline-triton-{pid}-*")]


# --- running ------------------------------------------------------------------------------------------


@pytest.mark.triton
def test_it_runs_survives_a_kill_on_its_ports_and_leaves_nothing(repository, tmp_path):
    said, before = [], what_runs()
    folders = set(Path("/tmp").glob("python_env_*"))  # the Python backend's, which a killed server leaves
    server = TritonServer(repository, log_path=tmp_path / "logs" / "triton.log")
    with pytest.raises(ServerError, match="not started"):
        _ = server.pid
    server.start(said.append)
    folders = set(Path("/tmp").glob("python_env_*")) - folders
    assert folders
    try:
        assert any("ready" in text for text in said)
        with pytest.raises(ServerError, match="started already"):
            server.start()
        assert set(regions_of(os.getpid())) > before[0]
        assert psutil.Process(server.pid).net_connections("inet") == []
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        url, pid = server.grpc_url, server.pid
        os.kill(pid, signal.SIGKILL)  # a crash, unseen by us
        until(lambda: why_it_ended(server))
        assert "ended with code -9" in why_it_ended(server)
        server.stop()
        assert not any(folder.exists() for folder in folders)
        server.start()
        server.check()
        assert (server.grpc_url, server.pid != pid) == (url, True)
        with InferenceServerClient(url) as client:
            assert client.is_model_ready("detector")
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        family += [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    finally:
        server.stop()
    until(lambda: not any(alive(process) for process in family))
    assert what_runs() == before
    server.stop()  # twice does no harm
    assert "Started GRPCInferenceService" in (tmp_path / "logs" / "triton.log").read_text()


def why_it_ended(server):
    try:
        server.check()
    except ServerError as error:
        return str(error)
    return ""


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.triton
def test_it_dies_with_its_owner(repository, tmp_path):
    program = f"""
        import sys
        from pathlib import Path
        from sightline.serving.server import TritonServer
        server = TritonServer(Path({str(repository)!r}), log_path=Path({str(tmp_path / "triton.log")!r}))
        print(server.start().pid, flush=True)
        sys.stdin.read()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        server = psutil.Process(int(owner.stdout.readline()))
        family = [server, *server.children(recursive=True)]
        assert len(family) > 1
        owner.kill()
    until(lambda: not any(alive(process) for process in family))
    tritonserver.remove_what_the_dead_left()  # as the next start does
    assert regions_of(owner.pid) == []


@pytest.mark.triton
def test_shared_memory_can_be_refused(repository, tmp_path):
    handle = shared_memory.create_shared_memory_region("test", f"/sightline-test-{os.getpid()}", 64)
    try:
        for allowed in (True, False):
            options = {"shared_memory": allowed, "log_path": tmp_path / "triton.log"}
            with (
                TritonServer(repository, **options) as server,
                InferenceServerClient(server.grpc_url) as client,
            ):
                register = client.register_system_shared_memory
                if allowed:
                    register("test", f"/sightline-test-{os.getpid()}", 64)
                    client.unregister_system_shared_memory("test")
                else:
                    with pytest.raises(InferenceServerException, match="restricted"):
                        register("test", f"/sightline-test-{os.getpid()}", 64)
    finally:
        shared_memory.destroy_shared_memory_region(handle)


# --- not starting: the repository ---------------------------------------------------------------------


def test_a_folder_that_is_no_repository(tmp_path):
    assert "is no model repository" in refusal(tmp_path, tmp_path)


def test_a_model_that_is_not_there_is_told_with_those_that_are(repository, tmp_path):
    text = refusal(repository, tmp_path, models=("detektor",))
    assert "no model 'detektor', only detector, postprocess, postprocess-1, preprocess" in text


def test_a_python_model_without_its_file(repository, tmp_path):
    (repository / "detector" / "1" / "model.py").unlink()
    assert "restore it from the checkout" in refusal(repository, tmp_path)


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


CPU = "detector/configs/cpu.pbtxt"
BROKEN_REPOSITORIES = {
    "network missing": (
        lambda folder: (folder / "yolo/1/model.onnx").unlink(),
        ["there is no network at", "yolo/1/model.onnx", "sightline model export"],
    ),
    "network unreadable": (
        lambda folder: (folder / "yolo/1/model.onnx").write_text("nonsense"),
        ["model.onnx is not an ONNX network", "sightline model export"],
    ),
    "configuration unreadable": (
        lambda folder: rewrite(folder / CPU, "max_batch_size", "max_batsh_size"),
        ["configuration cannot be read", "max_batsh_size"],
    ),
    "manifest unreadable": (
        lambda folder: rewrite(folder / "yolo/1/manifest.json", "network_height", "network_heigth"),
        ["manifest.json is no manifest", "network_height"],
    ),
    "precision unknown": (
        lambda folder: rewrite(folder / CPU, '"fp32"', '"fp7"'),
        ["cannot run precision 'fp7'"],
    ),
    "model broken": (
        lambda folder: (folder / "detector/1/model.py").write_text("def f(:\n"),
        ["a Python model cannot be read: SyntaxError", "line 1"],
    ),
    "library missing": (
        lambda folder: rewrite(
            folder / "detector/1/model.py", "from pathlib", "import nonesuch\nfrom pathlib"
        ),
        ["no module 'nonesuch'"],
    ),
}


@pytest.mark.triton
@pytest.mark.parametrize("fault", BROKEN_REPOSITORIES)
def test_a_broken_repository_is_explained(fault, repository, tmp_path):
    spoil, words = BROKEN_REPOSITORIES[fault]
    spoil(repository)
    text = refusal(repository, tmp_path)
    assert all(word in text for word in words), text
    assert fault == "manifest unreadable" or str(tmp_path / "triton.log") in text


def test_a_configuration_that_nobody_has_made_is_refused(repository, tmp_path):
    text = refusal(repository, tmp_path, config_name="nosuch")
    assert "has no configuration 'nosuch', only cpu, ensemble, fused, rtx" in text


@pytest.mark.triton
def test_the_configuration_for_a_gpu_is_refused_with_the_remedy(repository, tmp_path):
    text = refusal(repository, tmp_path, config_name="ensemble")
    assert "needs the backend 'tensorrt'" in text
    assert "use the one named cpu" in text


# --- not starting: the installation -------------------------------------------------------------------


def replace(path, content):
    path.unlink()  # the file is linked: the installation's own stays as it is
    path.write_bytes(content)
    path.chmod(0o755)


BROKEN_INSTALLATIONS = {
    "stub missing": (
        lambda found: (found.backends / "python" / "triton_python_backend_stub").unlink(),
        ["the Python backend's stub is missing", "remove the installation's folder"],
    ),
    "backend missing": (
        lambda found: (found.backends / "python" / "libtriton_python.so").unlink(),
        ["the Python backend is missing", "remove the installation's folder"],
    ),
    "library of the wheel missing": (
        lambda found: next(found.libraries.glob("libb64*")).unlink(),
        ["libb64", "missing from the installation"],
    ),
    "program missing": (
        lambda found: found.binary.unlink(),
        ["cannot be run (No such file", "installed anew"],
    ),
    "program of another machine": (
        lambda found: replace(found.binary, b"\x7fELF\x02\x01\x01" + bytes(64)),
        ["cannot be run (Exec format error)"],
    ),
}


@pytest.mark.triton
@pytest.mark.parametrize("fault", BROKEN_INSTALLATIONS)
def test_a_broken_installation_is_explained(fault, installation, repository, tmp_path):
    spoil, words = BROKEN_INSTALLATIONS[fault]
    spoil(installation)
    text = refusal(repository, tmp_path)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("library", "package"),
    [("libexpat.so.1", "libexpat1"), ("libpython3.11.so.1.0", "libpython3"), ("libz.so.1", "zlib1g")],
)
def test_a_missing_system_library_names_debians_package(library, package):
    log = f"stub: error while loading shared libraries: {library}: cannot open shared object file"
    assert f"{library} is missing; Debian: apt-get install {package}" in explain(log)


def test_a_full_shm_is_told():
    line = 'E1121 "Failed to increase the shared memory pool size for key: No space left on device"'
    assert "/dev/shm is full or too small" in explain(line)


def test_a_lock_that_a_busy_machine_waited_for_in_vain_is_told():
    log = (
        'E1121 02:03:59.04 7 server.cc:241] "CudaDriverHelper has not been initialized."\n'
        "terminate called after throwing an instance of 'boost::interprocess::lock_exception'\n"
    )
    assert "too busy" in explain(log)


def test_what_nobody_foresaw_is_told_in_the_servers_words_without_credentials():
    log = "I1121 fine\nE1121 02:03:59.04 7 x.cc:1] to rtsp://me:secret@host/a\nerror: creating server: odd\n"
    text = explain(log)
    assert "creating server: odd" in text
    assert "secret" not in text
    assert explain("") == "it said nothing"


# --- ports --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gRPC", "metrics"])
def test_a_taken_port_is_named(name, served, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = refusal(served, tmp_path, **{f"{name.lower()}_port": port})
    assert f"port {port} for Triton's {name} is taken" in text


# --- installing ---------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_servers_own_libraries_come_before_those_of_the_machine(monkeypatch):
    installation = Installation(Path("/cache/triton"))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    alone = installation.environment()["LD_LIBRARY_PATH"]
    assert alone.split(os.pathsep)[0] == str(installation.libraries)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/driver:/other")  # where some machines have the GPU's driver
    assert installation.environment()["LD_LIBRARY_PATH"] == f"{alone}:/driver:/other"


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [
        ("machine", "aarch64", "Linux on x86_64 only, this is Linux on aarch64"),
        ("libc_ver", ("", ""), "another C library"),
    ],
)
def test_another_platform_is_refused_with_a_way_out(what, value, words, monkeypatch):
    monkeypatch.setattr(install_module.platform, what, lambda: value)
    with pytest.raises(ServerError, match=words) as caught:
        install_module.check_platform()
    assert "config.yml" in str(caught.value)


def test_a_python_without_a_stub_is_refused(monkeypatch):
    monkeypatch.setattr(install_module.sys, "version_info", (3, 14, 0))
    with pytest.raises(ServerError, match=r"not work with Python 3\.14: use a Python of 3\.11 to 3\.12"):
        install_module.check_platform()


def test_the_lock_keeps_the_numpy_that_the_stubs_are_built_for():
    lock = files("sightline.serving").joinpath("data", "triton.txt").read_text()
    assert "\nnumpy==1." in f"\n{lock}"  # with numpy 2 some tensors leave a model with no bytes


def test_many_at_once_install_once_and_an_interrupted_one_does_no_harm(cache, monkeypatch):
    stale = cache / ".thing-interrupted"
    stale.mkdir(parents=True)
    made = []

    def run(command, on_progress, began):
        made.append(command)

    monkeypatch.setattr(install_module, "_run", run)
    threads = [
        threading.Thread(target=install_packages, args=("thing", EMPTY_LOCK, lambda text: None))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2  # one environment, one call of pip
    assert (cache / "thing" / "lock.txt").read_bytes() == EMPTY_LOCK
    assert sorted(path.name for path in cache.iterdir()) == [".thing.lock", "thing"]


def test_a_failed_install_is_told_and_leaves_nothing(cache):
    lock = b"sightline-has-no-such-package==1.0 --hash=sha256:" + b"0" * 64 + b"\n"
    with pytest.raises(ServerError, match="could not be installed"):
        install_packages("thing", lock, lambda text: None)
    assert sorted(path.name for path in cache.iterdir()) == [".thing.lock"]


def test_a_cache_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ServerError, match="name another folder in SIGHTLINE_CACHE"):
        install_packages("thing", EMPTY_LOCK, lambda text: None)
