import pytest

from sightline.base import resources
from sightline.errors import SightlineError


def test_a_checkout_and_a_wheel_have_their_resources_in_different_places(monkeypatch, tmp_path):
    assert resources.resource("models/sightline.onnx").is_file()
    assert resources.resource("streamlit_app/app.py").is_file()
    bundle = tmp_path / "_bundle"
    (bundle / "models").mkdir(parents=True)
    (bundle / "models" / "sightline.onnx").touch()
    monkeypatch.setattr(resources, "BUNDLE", bundle)
    assert resources.resource("models/sightline.onnx") == bundle / "models" / "sightline.onnx"
    with pytest.raises(SightlineError, match="streamlit_app is missing; install the wheel again"):
        resources.resource("streamlit_app")
