"""A real broker's switch and a running program: a camera stops, stays so over a restart, and runs again."""

from __future__ import annotations

from pathlib import Path

from sightline.config import load_config
from support.brokers import Listener, Mosquitto
from support.system import System
from support.waiting import until


def test_a_switch_stops_a_camera_which_stays_so_until_it_is_switched_on(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    listener, path = Listener(broker), tmp_path / "config.yml"
    mqtt = {"host": "127.0.0.1", "port": broker.port, "commands": True}
    cameras = {"gate": {"url": "rtsp://127.0.0.1:1/x"}}

    def switch(position: str) -> None:
        listener.client.publish("sightline/gate/enabled/set", position, 1).wait_for_publish(5)

    def is_shown(position: str) -> bool:
        return listener.states.get("sightline/gate/enabled") == position

    try:
        with System(tmp_path, cameras, triton_url="127.0.0.1:1", streams={"mqtt": mqtt}) as system:
            until(lambda: is_shown("ON"), 30.0)
            switch("OFF")
            until(lambda: is_shown("OFF"), 30.0)
            assert not load_config(path).cameras["gate"].enabled
            system.stop()
            listener.states.clear()
            system.start()
            until(lambda: is_shown("OFF"), 30.0)
            assert listener.json("sightline/gate/status")["message"] == "enabled: false"
            switch("ON")
            until(lambda: is_shown("ON"), 30.0)
            assert load_config(path).cameras["gate"].enabled
            assert system.stop() < 10
    finally:
        listener.close()
        broker.stop()
