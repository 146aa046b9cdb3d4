"""compose.yaml without a container engine: its schema, a Compose parser, and everything that it names."""

import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import urllib.parse
import zipfile
from ipaddress import ip_address, ip_network
from pathlib import Path

import jsonschema
import onnx
import pytest
import yaml

from gpu import build_engines
from sightline.cli import build_parser
from sightline.cli.main import main
from sightline.config import load_config
from sightline.models.export import exporter
from sightline.models.registry import repository
from sightline.supervisor.http.health_pages import HealthPages
from support.networks import raw_network
from support.whole_api import whole_api

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".sightline" / "compose"
SECRETS = ROOT / "deploy" / "secrets"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def services(compose):
    return compose["services"].items()


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *arguments, "-q", "--disable-pip-version-check"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{arguments[-1]} cannot be had here: {str(error.stderr)[-200:]}")


@pytest.fixture(scope="module")
def schema():
    """The specification's schema out of the Compose of 2021, the last one that was a Python package."""
    wheel = CACHE / "docker_compose-1.29.2-py2.py3-none-any.whl"
    if not wheel.is_file():
        pip("download", "--no-deps", "--only-binary", ":all:", "-d", str(CACHE), "docker-compose==1.29.2")
    with zipfile.ZipFile(wheel) as packed:
        return json.loads(packed.read("compose/config/compose_spec.json"))


def test_file_is_of_the_compose_specification(compose, schema):
    jsonschema.Draft7Validator(schema).validate(compose)
    broken = {**compose, "services": {"triton": {"imagee": "x"}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(broken)


def test_a_compose_parser_reads_it(tmp_path):
    home = CACHE / "podman-compose"
    program = home / "bin" / "podman-compose"
    if not program.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=60)
        pip("--python", str(home / "bin" / "python"), "install", "podman-compose==1.6.0")
    podman = tmp_path / "podman"  # it asks for the engine's version before it parses, and for nothing else
    podman.write_text("#!/bin/sh\necho podman version 5.2.0\n")
    podman.chmod(0o755)
    done = subprocess.run(
        [program, "-f", ROOT / "compose.yaml", "config"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    parsed = yaml.safe_load(done.stdout)
    assert parsed["services"]["triton"]["image"].endswith("/tritonserver:26.07-py3")
    assert parsed["services"]["client"]["restart"] == "unless-stopped"


def test_every_mounted_file_is_here(compose):
    volumes = set(compose["volumes"])
    for name, service in services(compose):
        for mount in service.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", mount).split(":")[0]
            assert source in volumes or (ROOT / source).exists(), f"{name}: {mount}"
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_the_image_copies_only_what_is_here_and_sent():
    sent = {
        line[1:]
        for line in (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
                assert source in sent


def test_every_secret_is_declared_and_has_an_example_but_no_value_in_git(compose):
    declared = compose["secrets"]
    used = {secret for _, service in services(compose) for secret in service.get("secrets", ())}
    assert used == set(declared)
    for name, secret in declared.items():
        path = ROOT / secret["file"]
        assert path.with_name(f"{name}.example").is_file()
        asked = ["git", "check-ignore", "-q", str(path)]
        assert subprocess.run(asked, cwd=ROOT, check=False).returncode == 0, f"{path} would be committed"


def test_secrets_script_makes_each_once(compose, tmp_path):
    for path in SECRETS.iterdir():
        if path.name == "make.sh" or path.suffix == ".example":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    for _ in range(2):
        subprocess.run(["sh", str(tmp_path / "make.sh")], check=True, capture_output=True)
        made = {path.name: path.read_text() for path in tmp_path.iterdir() if not path.suffix}
        assert set(made) == set(compose["secrets"])
        assert len(set(made.values())) == len(made)
        assert all(len(value) == 32 for value in made.values())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_nothing_that_is_secret_is_published(compose):
    networks = {name: set(service.get("networks", ())) for name, service in services(compose)}
    for name, network in (("triton", "inference"), ("db", "database")):
        assert compose["networks"][network]["internal"] is True
        assert networks[name] == {network}
        assert "ports" not in compose["services"][name]
    assert {name for name in networks if "front" in networks[name]} == {"console", "client"}
    assert {name for name in networks if "inference" in networks[name]} == {
        "triton",
        "client",
        "versions",
        "proof",
    }
    assert networks["console"] & networks["client"] == {"database", "front"}
    for name, service in services(compose):
        for port in service.get("ports", ()):
            assert re.match(r"(127\.0\.0\.1|\$\{SIGHTLINE_\w+_ADDRESS:-127\.0\.0\.1\}):", port), (
                f"{name}: {port}"
            )
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or value.startswith("/run/secrets/"), f"{name}: {key}"


def test_who_runs_as_what(compose):
    for name, service in services(compose):
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["mem_limit"], name
        assert service["pids_limit"] > 0, name
        # One's passwords are not another's to read.
        assert service.get("ipc") is service.get("pid") is None, name
    sharing = {name: item for name, item in services(compose) if "shm:/dev/shm" in item.get("volumes", ())}
    assert set(sharing) == {"triton", "client", "proof"}
    assert {service["user"] for service in sharing.values()} == {"1000:1000"}  # slots belong to one user
    assert compose["services"]["engines"]["network_mode"] == "none"


def test_only_those_who_manage_models_have_the_key(compose):
    holders = {name for name, item in services(compose) if "SIGHTLINE_TRITON_KEY" in item.get("secrets", ())}
    assert holders == {"triton", "versions"}


def test_triton_is_started_with_the_key_and_by_the_images_own_entry_point(compose, tmp_path):
    triton, engines = compose["services"]["triton"], compose["services"]["engines"]
    assert "entrypoint" not in triton.keys() | engines.keys()
    script, secret = ROOT / "deploy" / "triton.sh", tmp_path / "SIGHTLINE_TRITON_KEY"
    environment = {**os.environ, "SECRETS": str(tmp_path), "TRITON": "echo"}
    command = ["sh", str(script), *triton["command"][2:]]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "secret SIGHTLINE_TRITON_KEY is missing" in refused.stderr
    secret.write_text("abc")
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == "--grpc-restricted-protocol=model-repository,logging,trace:sightline=abc"
    assert "--http-address=127.0.0.1" in said


def test_pictures_that_stay_on_the_gpu_are_an_overlay(compose, schema):
    overlay = yaml.safe_load((ROOT / "deploy" / "cuda.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(overlay)
    assert set(overlay["services"]) - {"pids"} <= set(compose["services"])
    assert {item.get("pid", "service:pids") for item in overlay["services"].values()} == {"service:pids"}


def test_images_have_exact_tags_and_pinning_adds_their_digests(compose, tmp_path):
    tags = [item["image"].rpartition(":-")[2].rstrip("}") for _, item in services(compose)]
    assert all(re.match(r"\d+\.\d+(\.\d+)?(-|$)", tag) for tag in tags), tags
    (tmp_path / "deploy").mkdir()
    for name in ("compose.yaml", "deploy/Dockerfile", "deploy/pin.sh"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "sha256:%s\\n" "$(printf %s "$4" | sha256sum | cut -c -64)"\n')
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for _ in range(2):  # again: a newer digest takes the place of the older
        command = ["sh", str(tmp_path / "deploy" / "pin.sh")]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    pinned = yaml.safe_load((tmp_path / "compose.yaml").read_text())
    for name, item in services(pinned):
        before = compose["services"][name]["image"]
        if before.startswith("sightline:"):
            assert item["image"] == before
            continue
        digest = hashlib.sha256(f"{re.split(r':[$]', before)[0]}:{before.split(':-')[1][:-1]}".encode())
        assert item["image"] == f"{before[:-1]}@sha256:{digest.hexdigest()}}}"
    froms = [
        line.split()[1]
        for line in (tmp_path / "deploy/Dockerfile").read_text().splitlines()
        if "FROM " in line
    ]
    assert len(froms) == 2
    assert all(re.fullmatch(r"python:[\w.-]+@sha256:[0-9a-f]{64}", image) for image in froms)
    docker.write_text("#!/bin/sh\necho no such image\n")
    failed = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "has no digest" in failed.stderr


def test_start_order_waits_for_what_can_be_waited_for(compose):
    for name, service in services(compose):
        for needed, how in service.get("depends_on", {}).items():
            other = compose["services"][needed]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in other, f"{name} waits for {needed}"
            if how["condition"] == "service_completed_successfully":
                assert other["restart"] == "no"


def test_triton_is_recent_and_shares_memory_on_purpose(compose):
    triton = compose["services"]["triton"]
    year, month = triton["image"].split(":-")[1].split("-")[0].split(".")
    assert (int(year), int(month)) >= (26, 7)
    assert "--allow-client-shm=true" in triton["command"]
    assert "--model-control-mode=explicit" in triton["command"]


def test_our_commands_and_their_flags_exist(compose):
    for name in ("client", "console"):
        command = compose["services"][name]["command"]
        assert command[0] == "sightline"
        words = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in command[1:]]  # as compose fills them in
        build_parser().parse_args(words)  # ends the program when a flag is unknown
    engines = compose["services"]["engines"]
    said = subprocess.run(
        [sys.executable, ROOT / "tools" / "gpu" / "build_engines.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(flag.split("=")[0] in said for flag in engines["command"][2:])
    form = "${SIGHTLINE_DETECTOR_FORM:-ensemble}"
    assert f"--form={form}" in engines["command"]
    assert f"--model-config-name={form}.served" in compose["services"]["triton"]["command"]
    forms = {path.stem for path in (ROOT / "model_repository/detector/configs").iterdir()}
    assert "fused" in forms
    assert "ensemble" not in forms  # so that Triton takes config.pbtxt


@pytest.mark.parametrize("name", ["config.yml", "console.yml"])
def test_mounted_configurations_load_and_name_only_services(name, compose, monkeypatch):
    for secret in compose["secrets"]:
        monkeypatch.setenv(secret, "p@ss/word")
    monkeypatch.setenv("SIGHTLINE_SITE", "cameras.example")
    loaded = load_config(ROOT / "deploy" / name)
    assert not loaded.problems
    urls = [
        loaded.options.database.url.get_secret_value(),
        *(item.source_url for item in loaded.cameras.values()),
    ]
    for url in urls:
        assert urllib.parse.urlsplit(url).hostname in compose["services"]
        assert "p%40ss%2Fword" in url
    if loaded.cameras:
        assert loaded.options.triton.url.split(":")[0] in compose["services"]


def test_mediamtx_lets_nobody_in_without_a_password(tmp_path):
    config = yaml.safe_load((ROOT / "deploy" / "mediamtx.yml").read_text())
    assert config["authMethod"] == "internal"
    for user in config["authInternalUsers"]:
        anybody = user["user"] == "any"
        assert not anybody or user["ips"] == ["127.0.0.1"]
        assert not anybody or [item["action"] for item in user["permissions"]] == ["api"]
    assert [user["user"] for user in config["authInternalUsers"]][:2] == ["reader", "publisher"]


@pytest.mark.parametrize("service", ["mediamtx", "recorder"])
def test_mediamtx_script_refuses_to_start_without_passwords_and_gives_them(service, compose, tmp_path):
    item = compose["services"][service]
    script = (ROOT / "deploy" / "mediamtx.sh").read_text()
    (tmp_path / "mediamtx.sh").write_text(script.replace("/run/secrets", str(tmp_path)))
    command = ["sh", str(tmp_path / "mediamtx.sh"), *item.get("command", ())]
    environment = {"PATH": os.environ["PATH"], "MEDIAMTX": "env"}
    environment["MEDIAMTX_CONFIG"] = "config=" + item.get("environment", {}).get("MEDIAMTX_CONFIG", "")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10, env=environment)
    assert done.returncode == 1
    assert "secret SIGHTLINE_RTSP_READER_PASSWORD is missing" in done.stderr
    for number, secret in enumerate(item["secrets"]):
        (tmp_path / secret).write_text(f"word{number}")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10, env=environment)
    passwords = sorted(line for line in done.stdout.splitlines() if line.startswith("MTX_"))
    assert passwords == [f"MTX_AUTHINTERNALUSERS_{n}_PASS=word{n}" for n in range(len(item["secrets"]))]


def test_the_recorder_is_optional_and_told_by_our_command_what_to_record(compose, tmp_path, monkeypatch):
    told, recorder = compose["services"]["recorder-config"], compose["services"]["recorder"]
    assert told["profiles"] == recorder["profiles"] == ["recording"]
    assert "recorder" not in str(
        [item.get("depends_on") for name, item in services(compose) if name != "recorder"]
    )
    for secret in told["secrets"]:
        monkeypatch.setenv(secret, "p@ss/word")
    assert "SIGHTLINE_SITE" in told["environment"]
    monkeypatch.setenv("SIGHTLINE_SITE", "cameras.example")
    command = [*told["command"]]
    command[command.index("-c") + 1], command[-1] = (
        str(ROOT / "deploy" / "config.yml"),
        str(tmp_path / "out.yml"),
    )
    assert main(command[1:]) == 0
    config = yaml.safe_load((tmp_path / "out.yml").read_text())
    assert config["paths"]["door"]["source"] == "rtsp://reader:p%40ss%2Fword@mediamtx:8554/door"
    assert [user["user"] for user in config["authInternalUsers"]] == ["reader", "any"]
    # One volume: written there by one, read and recorded into by the other.
    [folder] = [mount.split(":")[1] for mount in recorder["volumes"] if mount.startswith("recordings:")]
    assert recorder["environment"]["MEDIAMTX_CONFIG"] == f"{folder}/{Path(told['command'][-1]).name}"
    assert config["pathDefaults"]["recordPath"].startswith(f"{folder}/")
    [written] = [mount.split(":")[1] for mount in told["volumes"] if mount.startswith("recordings:")]
    assert str(Path(told["command"][-1]).parent) == written
    [port] = recorder["ports"]
    assert port.startswith("127.0.0.1:") and config["playbackAddress"] == f":{port.split(':')[1]}"
    assert config["apiAddress"] in " ".join(recorder["healthcheck"]["test"])


def test_the_video_server_asks_the_client_about_everything_and_publishes_no_port_of_http(
    compose, monkeypatch
):
    config = yaml.safe_load((ROOT / "deploy" / "video.yml").read_text())
    asked = urllib.parse.urlsplit(config["authHTTPAddress"])
    assert config["authMethod"] == "http"
    assert f"/{asked.path.strip('/')}" in {endpoint.path for endpoint in whole_api(HealthPages(None, None))}
    assert config["authHTTPExclude"] == [{"action": "metrics"}]
    assert config["metricsAddress"].startswith("127.0.0.1:")
    assert config["paths"] == {}
    for secret in [*compose["secrets"], "SIGHTLINE_SITE"]:
        monkeypatch.setenv(secret, "word")
    options = load_config(ROOT / "deploy" / "config.yml").options
    assert (asked.hostname, asked.port) == ("client", options.http.port)
    assert asked.hostname in options.http.allowed_hosts
    media = options.media
    ports = [config[f"{key}Address"] for key in ("webrtc", "api", "hls")]
    assert [media.url, media.api_url, media.hls_url] == [f"http://video{port}" for port in ports]
    [port] = compose["services"]["video"]["ports"]
    assert port.endswith(f"{config['webrtcLocalUDPAddress']}/udp")
    assert compose["networks"]["media"]["internal"] is True
    holders = {name for name, item in services(compose) if "media" in item.get("networks", ())}
    assert holders == {"video", "turn", "client"}


def test_the_proxy_with_tls_passes_everything_on_to_the_console_which_believes_it_alone(compose):
    caddy, console = compose["services"]["caddy"], compose["services"]["console"]
    text = (ROOT / "deploy" / "Caddyfile").read_text()
    assert re.findall(r"reverse_proxy (\S+)", text) == ["console:8501"]
    assert set(re.findall(r"\{\$(\w+)\}", text)) == set(caddy["environment"])
    [trusted] = [word for word in console["command"] if word.startswith("--trusted-proxy=")]
    assert trusted.endswith(f":-{caddy['networks']['web']['ipv4_address']}}}")
    sites = {word for word in console["command"] if word.startswith("--allowed-host=")}
    assert sites == {f"--allowed-host={caddy['environment']['SIGHTLINE_SITE']}"}
    assert (
        compose["services"]["client"]["environment"]["SIGHTLINE_SITE"]
        == caddy["environment"]["SIGHTLINE_SITE"]
    )


def test_addresses_that_others_know_are_given_to_nobody_else(compose):
    for name, service in services(compose):
        networks = service.get("networks", {})
        for network in networks if isinstance(networks, dict) else ():
            if address := networks[network].get("ipv4_address"):
                [pool] = compose["networks"][network]["ipam"]["config"]
                assert ip_address(address) in ip_network(pool["subnet"]), name
                assert ip_address(address) not in ip_network(pool["ip_range"]), name


def test_the_relay_reaches_the_video_server_alone_and_shows_nobody_its_secret(compose, tmp_path):
    turn, video = compose["services"]["turn"], compose["services"]["video"]
    assert turn["environment"] == {
        "TURN_RELAY": turn["networks"]["media"]["ipv4_address"],
        "TURN_PEER": video["networks"]["media"]["ipv4_address"],
    }
    command = ["sh", str(ROOT / "deploy" / "turn.sh")]
    environment = {**os.environ, **turn["environment"], "SECRETS": str(tmp_path), "TURNSERVER": "echo"}
    environment["CONFIG"] = str(tmp_path / "turn.conf")
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "secret SIGHTLINE_TURN_SECRET is missing" in refused.stderr
    (tmp_path / "SIGHTLINE_TURN_SECRET").write_text("shared")
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["-c", str(tmp_path / "turn.conf")]
    config = (tmp_path / "turn.conf").read_text()
    assert stat.S_IMODE((tmp_path / "turn.conf").stat().st_mode) == 0o600
    assert {"use-auth-secret", "static-auth-secret=shared", "no-tcp-relay"} <= set(config.split("\n"))
    assert re.findall(r"allowed-peer-ip=(.*)", config) == [turn["environment"]["TURN_PEER"]]


FAKE_TRTEXEC = """#!/bin/sh
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v101600] [b1] # $*"
echo "  --stronglyTyped"
for word in "$@"; do case $word in
--shapes=*:8x*) echo "[I] Throughput: 300.5 qps";;
--shapes=*) echo "[I] Throughput: 400 qps";;
--saveEngine=*) echo "$*" >>{log}; [ -n "$FAIL" ] && exit 1; echo "plan {gpu} $*" >"${{word#--saveEngine=}}";;
esac; done
"""


@pytest.fixture
def fake_gpu(tmp_path, monkeypatch):
    """Trtexec and nvidia-smi as the builder calls them; the real ones need the container and its GPU."""

    def put(gpu, capability="8.9"):
        for name, text in (
            ("trtexec", FAKE_TRTEXEC.format(log=shlex.quote(str(tmp_path / "calls")), gpu=gpu)),
            ("nvidia-smi", f"#!/bin/sh\necho {gpu}, {capability}\n"),
        ):
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / name).write_text(text)
            (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    put("L4")
    return put


def test_engines_are_built_by_what_is_mounted_and_python_alone(compose, tmp_path):
    engines = compose["services"]["engines"]
    copied = {".py": shutil.copyfile, "": shutil.copytree}
    for mount in engines["volumes"]:
        source, target = mount.split(":")[:2]
        if target.startswith("/opt/sightline/"):
            copied[Path(source).suffix](ROOT / source, tmp_path / Path(target).name)
    program = tmp_path / Path(engines["command"][1]).name
    command = [sys.executable, "-S", "-s", "-E", program, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def calls(tmp_path):
    return (tmp_path / "calls").read_text().splitlines()


def test_the_bare_engine_is_the_best_of_a_curve(tmp_path, fake_gpu, capsys):
    profile = tmp_path / "engine.json"
    profile.write_text('{"images": [[1, 3, 384, 640], [4, 3, 384, 640], [8, 3, 384, 640]]}')
    assert build_engines.bare_rates(tmp_path / "plan", profile) == {1: 400, 2: 800, 4: 1600, 8: 2404}


def test_engines_are_built_once_for_a_gpu_and_put_in_place(tmp_path, fake_gpu):
    source, target, cache = (tmp_path / name for name in ("source", "target", "cache"))
    onnx.save(raw_network(), tmp_path / "tiny.onnx")
    exporter.export_network(exporter.ExportOptions(tmp_path / "tiny.onnx", source))
    for _ in range(2):
        assert build_engines.build(source, target, cache) == 1
        assert len(calls(tmp_path)) == 3  # the second time from the cache
    for step in ("preprocess", "yolo", "postprocess"):
        assert (target / step / "1" / "model.plan").read_text().startswith("plan L4")
        assert (target / step / "config.pbtxt").read_bytes() == (source / step / "config.pbtxt").read_bytes()
        assert sorted(path.name for path in (target / step).iterdir()) == ["1", "config.pbtxt"]
        assert (target / f"{step}-1" / "1" / "model.plan").is_file()
        assert (target / f"{step}-1" / "configs" / "ensemble.served.pbtxt").is_file()
    yolo = next(call for call in calls(tmp_path) if "images:" in call)
    assert "--stronglyTyped" in yolo
    assert "--minShapes=images:1x3x384x640" in yolo
    assert "--maxShapes=images:8x3x384x640" in yolo
    assert (
        len({word for call in calls(tmp_path) for word in call.split() if "--timingCacheFile=" in word}) == 1
    )
    fake_gpu("H200")
    build_engines.build(source, target, cache)
    assert len(calls(tmp_path)) == 6
    assert (target / "yolo" / "1" / "model.plan").read_text().startswith("plan H200")


def test_an_fp8_network_is_refused_by_a_gpu_without_fp8_and_built_by_one_with(tmp_path, fake_gpu):
    source, target, cache = (tmp_path / name for name in ("source", "target", "cache"))
    onnx.save(raw_network(), tmp_path / "tiny.onnx")
    exporter.export_network(exporter.ExportOptions(tmp_path / "tiny.onnx", source))
    manifest = source / "yolo" / "1" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"precision": "fp8"}))
    fake_gpu("A10", "8.6")
    with pytest.raises(build_engines.BuildError, match=r"version 1 is FP8.* 8\.9 .*this GPU is A10, 8\.6"):
        build_engines.build(source, target, cache)
    assert not target.exists()
    fake_gpu("H100", "9.0")
    assert build_engines.build(source, target, cache) == 1
    fake_gpu("RTX PRO 6000", "12.0")
    assert build_engines.build(source, target, cache) == 1


def test_settings_that_were_tuned_go_with_the_plans(tmp_path, fake_gpu):
    source, target, cache = (tmp_path / name for name in ("source", "target", "cache"))
    onnx.save(raw_network(), tmp_path / "tiny.onnx")
    exporter.export_network(exporter.ExportOptions(tmp_path / "tiny.onnx", source))
    with pytest.raises(build_engines.BuildError, match=r"tools/load/tune\.py writes it"):
        build_engines.build(source, target, cache, form="nvidia-l4")
    (source / "yolo/configs/nvidia-l4.pbtxt").write_text("# tuned\n")
    build_engines.build(source, target, cache, form="nvidia-l4")
    assert (target / "yolo/configs/nvidia-l4.pbtxt").read_text() == "# tuned\n"
    assert (target / "postprocess/1/model.plan").is_file()
    assert not (target / "yolo/configs/cpu.pbtxt").exists()


def test_the_detector_as_one_plan_stands_beside_the_steps(tmp_path, fake_gpu):
    source, target, cache = (tmp_path / name for name in ("source", "target", "cache"))
    onnx.save(raw_network(), tmp_path / "tiny.onnx")
    exporter.export_network(exporter.ExportOptions(tmp_path / "tiny.onnx", source))
    with pytest.raises(build_engines.BuildError, match="export this version again with --fused"):
        build_engines.build(source, target, cache, form="fused")
    assert not target.exists()
    exporter.export_network(exporter.ExportOptions(tmp_path / "tiny.onnx", source, fused=True))
    assert build_engines.build(source, target, cache, form="fused") == 2
    assert (target / "detector/2/model.plan").read_text().startswith("plan L4")
    assert (target / "yolo/2/model.plan").is_file()  # the ensemble can serve again without a build
    whole = next(call for call in calls(tmp_path) if "detector/2/engine.onnx" in call)
    assert "--minShapes=frame:1x576x640" in whole
    assert "--maxShapes=frame:8x576x640" in whole
    fused = build_engines.FUSED
    assert (target / fused).read_bytes() == (source / fused).read_bytes()
    assert repository.problems(target, 2) == []
    (target / "detector/2/model.plan").write_text("another")
    assert repository.problems(target, 2) == [
        "detector/2/model.plan is not the plan that was built: its hash differs"
    ]


def test_a_plan_that_fails_leaves_the_served_repository_alone(tmp_path, fake_gpu, monkeypatch):
    source, target, cache = (tmp_path / name for name in ("source", "target", "cache"))
    onnx.save(raw_network(), tmp_path / "tiny.onnx")
    exporter.export_network(exporter.ExportOptions(tmp_path / "tiny.onnx", source))
    monkeypatch.setenv("FAIL", "yes")
    with pytest.raises(build_engines.BuildError, match="trtexec failed"):
        build_engines.build(source, target, cache)
    assert not target.exists()
    assert list(cache.iterdir()) == []


def test_engines_say_what_is_missing(tmp_path, capsys):
    arguments = ["--source", str(tmp_path), "--target", str(tmp_path), "--cache", str(tmp_path)]
    assert build_engines.main(arguments) == 1
    assert "holds no network" in capsys.readouterr().err
