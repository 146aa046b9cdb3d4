"""The planner: plain arithmetic, checked by hand; what was not measured is marked as assumed."""

import json
from dataclasses import replace

import pytest

from load import plan as command
from load.plan import (
    ASSUMED,
    Cameras,
    Known,
    Machine,
    demand,
    from_benchmark,
    from_load,
    from_perf,
    from_soak,
    given,
    plan,
)

HD = Cameras(count=1000, fps=5, stream_fps=15, width=1920, height=1080)


def inputs(**values):
    """All inputs; those named as if they had been measured."""
    return {**ASSUMED, **{name: Known(value, "", "test", measured=True) for name, value in values.items()}}


PLAIN = inputs(
    engine_core_ms=20,
    decode_core_ms=1,
    decode_pixels=1920 * 1080 / 2,
    client_core_ms=3,
    camera_mb=98.5,
    slot_mb=1.5,
    machine_mb=4000,
    bits_pixel=0.1,
    records_s=5,
    database_records_s=10_000,
    window_s=60,
    classes=2,
    row_bytes=100,
    headroom=0.5,
)


def test_what_a_camera_takes_without_a_gpu():
    found = demand(PLAIN, Machine(), HD)
    assert found["CPU cores"] == pytest.approx(
        (5 * 20 + 5 * 3 + 15 * 1 * 2) / 1000
    )  # engine, client, decoding
    assert found["memory (GB)"] == pytest.approx(0.1)
    assert found["network (Mbit/s)"] == pytest.approx(1920 * 1080 * 15 * 0.1 / 1e6)
    assert "GPUs" not in found


def test_what_a_camera_takes_with_a_gpu_and_its_decoders():
    known = {**PLAIN, **inputs(gpu_fps=1000, nvdec_fps=600, nvdec_client_core_ms=2)}
    found = demand({**PLAIN, **{k: known[k] for k in ("gpu_fps",)}}, Machine(gpus=1), HD)
    assert found["GPUs"] == pytest.approx(5 / 1000)
    assert found["CPU cores"] == pytest.approx((5 * 3 + 15 * 1 * 2) / 1000)  # decoding on the cores
    known = {**PLAIN, **{k: known[k] for k in ("gpu_fps", "nvdec_fps", "nvdec_client_core_ms")}}
    found = demand(known, Machine(gpus=1, nvdec=7), HD)
    assert found["decoder engines"] == pytest.approx(15 / 600)
    assert found["CPU cores"] == pytest.approx(5 * 2 / 1000)


def test_the_tightest_resource_gives_machines_and_first_limit():
    found = plan(PLAIN, Machine(cores=64, memory_gb=256, network_mbit=10_000), HD)
    # 32 cores ÷ 0.145 = 220; 124 GB ÷ 0.1 = 1240; 5000 Mbit/s ÷ 3.11 = 1607
    assert dict(found.a_machine) == {"CPU cores": 220, "memory (GB)": 1240, "network (Mbit/s)": 1607}
    assert found.first_limit == "CPU cores"
    assert found.machines == 5
    assert found.demand["CPU cores"] == pytest.approx(145)


@pytest.mark.parametrize(
    ("machine", "limit"),
    [
        (Machine(cores=64, memory_gb=20, network_mbit=10_000), "memory (GB)"),
        (Machine(cores=64, memory_gb=256, network_mbit=100), "network (Mbit/s)"),
        (Machine(cores=1000, memory_gb=1000, network_mbit=100_000, gpus=1, nvdec=1), "decoder engines"),
        (
            Machine(cores=1000, memory_gb=1000, network_mbit=100_000, gpus=1, nvdec=70, gpu_memory_gb=80),
            "GPUs",
        ),
        (
            Machine(cores=1000, memory_gb=1000, network_mbit=1e5, gpus=1, nvdec=70, gpu_memory_gb=8),
            "GPU memory (GB)",
        ),
    ],
)
def test_another_machine_has_another_first_limit(machine, limit):
    known = {**PLAIN, "gpu_fps": Known(2000, "", "", measured=True)}
    assert plan(known, machine, HD).first_limit == limit


def test_one_database_bounds_the_whole():
    found = plan(PLAIN, Machine(), HD)
    assert found.database_cameras == 1000  # 10,000 records, half of them, 5 a camera
    assert found.first_limit == "CPU cores"
    more = plan(PLAIN, Machine(), replace(HD, count=1001))
    assert more.first_limit == "database (records/s)"
    assert more.machines == 5


def test_rows_are_one_a_window_and_one_for_each_class():
    found = plan(PLAIN, Machine(), HD).rows
    assert found["rows_day"] == 1000 * 1440 * 3
    assert found["gb_year"] == pytest.approx(1000 * 1440 * 3 * 365 * 100 / 1e9)


def test_a_machine_that_takes_no_camera_and_a_gpu_of_which_nothing_is_known_are_refused():
    with pytest.raises(ValueError, match="CPU cores run out"):
        plan(PLAIN, Machine(cores=0.1), HD)
    with pytest.raises(ValueError, match="nothing is known of the GPU"):
        plan(PLAIN, Machine(gpus=1), HD)


# --- inputs -------------------------------------------------------------------------------------------

STEP = {
    "cameras": 4,
    "fps": 10,
    "due": 110,
    "tracked": 100,
    "kept_up": True,
    "decode_ms": 0.5,
    "pixels": 1000,
    "core_ms": {"engine": 28.0, "tritonserver": 1.0, "workers": 3.0, "supervisor": 0.25, "cameras": 9.0},
    "pss_mb": {"workers": 240.0},
    "records_s": 3.5,
}


def test_a_load_test_gives_the_last_step_that_kept_up():
    late = {**STEP, "kept_up": False, "cameras": 9}
    found = from_load({"about": {"date": "today"}, "steps": [{**STEP, "cameras": 1}, STEP, late]})
    values = {name: known.value for name, known in found.items()}
    assert values == {
        "engine_core_ms": 29.0,
        "decode_core_ms": 0.5,
        "decode_pixels": 1000,
        "client_core_ms": 2.7,  # workers and supervisor, less 1.1 decoded frames for each that was tracked
        "camera_mb": 60.0,
        "records_s": 3.5,
    }
    assert all(known.measured and "4 cameras" in known.source for known in found.values())


def test_of_a_server_elsewhere_the_engine_stays_assumed():
    spent = {name: value for name, value in STEP["core_ms"].items() if name not in {"engine", "tritonserver"}}
    found = from_load({"about": {"date": ""}, "steps": [{**STEP, "core_ms": spent}]})
    assert "engine_core_ms" not in found
    assert found["client_core_ms"].measured


def test_the_other_reports_give_their_part():
    processes = {"supervisor": {"max_mb": 97}, "worker 7": {"max_mb": 120}, "worker 8": {"max_mb": 66}}
    report = {"seconds": 291, "processes": processes, "cameras": {"a": {}, "b": {}, "c": {}}}
    assert from_soak({"report": report})["camera_mb"].value == 62
    bench = {"machine": "x86_64, 2 cores, Linux", "date": "today", "fps": {"engine": 80.0}}
    assert from_benchmark(bench)["engine_core_ms"].value == 25.0
    perf = {"about": {"date": "today"}, "measured": [{"throughput": 900.0, "stable": True}], "bracket": None}
    assert from_perf(perf)["gpu_fps"].value == 900.0
    perf["bracket"] = {"holds": 800.0, "text": "800 a second held"}
    assert from_perf(perf)["gpu_fps"].value == 800.0


def test_reports_that_hold_nothing_are_refused():
    with pytest.raises(ValueError, match="no step"):
        from_load({"about": {"date": ""}, "steps": []})
    with pytest.raises(ValueError, match="neither"):
        from_perf({"about": {"date": ""}, "measured": [{"throughput": 9, "stable": False}], "bracket": None})


def test_what_is_given_keeps_its_source_and_is_not_called_measured():
    found = given("camera_mb=80:our own guess")
    assert found == {"camera_mb": Known(80.0, "MB a camera", "given: our own guess", measured=False)}
    with pytest.raises(ValueError, match="names are"):
        given("colour=3")


# --- the command --------------------------------------------------------------------------------------


def test_the_command_names_the_first_limit_and_marks_what_is_assumed(tmp_path, capsys):
    report = tmp_path / "load.json"
    report.write_text(json.dumps({"about": {"date": "today"}, "steps": [STEP]}))
    kept = tmp_path / "plan.json"
    assert command.main(["--load", str(report), "--fps", "5", "--json", str(kept)]) == 0
    said = capsys.readouterr().out
    assert "1,000 cameras | 10,000 cameras" in said
    assert "first limit" in said
    assert "| engine_core_ms | 29 core ms a frame | measured |" in said
    assert "| headroom | 0.7 share of a resource that may be used | **assumed** |" in said
    assert "gpu_fps" not in said
    whole = json.loads(kept.read_text())
    assert [found["cameras"]["count"] for found in whole["plans"]] == [1000, 10_000]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--machine", "wheels=4"], "a machine has"),
        (["--machine", "nvdec=2"], "give gpus"),
        (["--size", "big"], "invalid literal"),
        (["--fps", "30", "--stream-fps", "15"], "more frames than it sends"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, text, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert text in capsys.readouterr().err


def test_a_gpu_without_any_figure_is_told(capsys):
    assert command.main(["--machine", "gpus=1,nvdec=7"]) == 1
    assert "nothing is known of the GPU" in capsys.readouterr().err
