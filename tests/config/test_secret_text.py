"""The text of a configuration without its secrets: shown to people, changed by them, and whole again."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.config.loader import parse_text
from sightline.config.secret_text import masked_text, unmasked_text, without_new_secrets
from sightline.config.yaml_text import parse_yaml
from sightline.errors import ConfigError

NAME = "config.yml"
TEXT = """\
# url: rtsp://admin:hunter0@10.0.0.9/   an old one
# password: hunter1
database: {url: "postgresql://sightline:hunter2@db/sightline"}
alerts:
  public_url: https://cameras.example.org
  routes:
    hook: {webhook: "https://hooks.example.org/hunter3", secret: hunter4}  # of the guards
    duty: {pagerduty: "{SIGHTLINE_DUTY}"}
streams:
  mqtt:
    host: broker
    username: sightline
    password: "12345678"
cameras:
  gate: &gate
    url: &url rtsp://admin:hunter5@10.0.0.21/stream?token=hunter6
    sub_url: *url
    stream: {fps: 5}
  yard:
    url: rtsp://reader:{SIGHTLINE_READER}@media:8554/yard
    output: {url: "rtsp://publisher:hunter9@10.0.0.24/{camera}-boxes"}
  open:
    url: rtsp://10.0.0.23/live
"""


def changed(before: str, after: str) -> str:
    """What somebody sends who has changed the masked text."""
    shown = masked_text(TEXT, NAME)
    assert before in shown
    return shown.replace(before, after)


def whole(before: str, after: str) -> str:
    return unmasked_text(changed(before, after), TEXT, NAME)


def refused(before: str, after: str) -> str:
    with pytest.raises(ConfigError) as error:
        whole(before, after)
    return str(error.value)


def test_no_secret_is_shown_and_what_is_none_is() -> None:
    shown = masked_text(TEXT, NAME)
    assert "hunter" not in shown
    assert "12345678" not in shown
    for text in (
        "postgresql://***@db/sightline",
        "rtsp://***@10.0.0.21/stream?token=***",
        "rtsp://reader:{SIGHTLINE_READER}@media:8554/yard",
        '"{SIGHTLINE_DUTY}"',
        "public_url: https://cameras.example.org",
        "username: sightline",
        "# of the guards",
    ):
        assert text in shown


def test_a_text_that_comes_back_as_it_was_shown_is_what_it_was() -> None:
    back = unmasked_text(masked_text(TEXT, NAME), TEXT, NAME)
    assert parse_yaml(back, NAME).values == parse_yaml(TEXT, NAME).values
    assert back.splitlines()[:2] == TEXT.splitlines()[:2]
    assert without_new_secrets(back, TEXT, NAME) == (back, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("fps: 5", "fps: 10"),
        ("# of the guards", "# of others"),
        ("  open:\n    url: rtsp://10.0.0.23/live\n", ""),
        ("media:8554/yard", "media:8554/other"),  # the same placeholder to the same host
        ("cameras.example.org", "console.example.org"),
        ('"{SIGHTLINE_DUTY}"}', '"{SIGHTLINE_DUTY}", timeout_s: 20}'),
        ("    username: sightline\n", "    username: other\n"),
    ],
)
def test_what_stands_elsewhere_may_change(before: str, after: str) -> None:
    back = parse_yaml(whole(before, after), NAME).values
    wanted = parse_yaml(TEXT.replace(before, after), NAME).values
    assert back == wanted


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("***@10.0.0.21", "***@10.6.6.6", "cameras.gate"),
        ("***@db", "***@evil.example", "database.url"),
        ("host: broker", "host: evil.example", "streams.mqtt.password"),
        ("@media:8554", "@evil.example", "cameras.yard.url"),
        ("rtsp://10.0.0.23", "rtsp://{SIGHTLINE_READER}@10.0.0.23", "cameras.open.url"),
        ("username: sightline", 'username: "{SIGHTLINE_DB_PASSWORD}"', "streams.mqtt.username"),
        ("https://cameras.example.org", '"https://evil.example/{SIGHTLINE_DUTY}"', "alerts.public_url"),
        ("  yard:", "  copy: {url: 'rtsp://***@10.0.0.21/stream?token=***'}\n  yard:", "cameras.copy.url"),
        ("public_url: https://cameras.example.org", 'public_url: "{SIGHTLINE_DUTY}"', "alerts.public_url"),
        (
            "https://cameras.example.org",
            '"rtsp://reader:{SIGHTLINE_READER}@media:8554/"',  # which is shown, as no camera's URL is
            "alerts.public_url",
        ),
        ("https://cameras.example.org", "https://x\n  heartbeat: {url: '***'}", "alerts.heartbeat.url"),
    ],
)
def test_a_secret_goes_nowhere_else(before: str, after: str, key: str) -> None:
    text = refused(before, after)
    assert key in text
    assert "hunter" not in text


@pytest.mark.parametrize(
    ("anchor", "key"),
    [
        (('password: "***"', 'password: &pw "***"', "password: *pw"), "streams.kafka.password"),
        (("  mqtt:\n", "  mqtt: &m\n", "<<: *m"), "streams.kafka.<<.password"),
        (('pagerduty: "', 'pagerduty: &pd "', "username: *pd"), "streams.kafka.username"),
        (('password: "***"', 'password: &pw "***"', "prefix: *pw"), "streams.kafka.prefix"),
        (('password: "***"', 'password: &pw "***"', "*pw : x"), "an alias cannot be a key"),
    ],
)
def test_nor_does_it_by_an_alias(anchor: tuple[str, str, str], key: str) -> None:
    """By which it could be sent, shown, or told in an error."""
    before, after, use = anchor
    shown = changed(before, after).replace(
        "cameras:\n", f"  kafka: {{servers: ['evil:1'], {use}}}\ncameras:\n"
    )
    with pytest.raises(ConfigError) as error:
        unmasked_text(shown, TEXT, NAME)
    assert key in str(error.value)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_comment_that_has_become_a_text_stays_masked(quote: str) -> None:
    [comment] = [line for line in masked_text(TEXT, NAME).splitlines() if line.startswith("# password")]
    shown = changed("https://cameras.example.org", f"{quote}\n{comment}\n{quote}")
    back = unmasked_text(shown.replace(f"{comment}\n", "", 1), TEXT, NAME)
    assert "hunter1" not in back


def test_a_secret_that_is_used_elsewhere_too_is_masked_where_it_stands() -> None:
    text = "streams:\n  mqtt: {host: h, username: &same hunter1, password: *same}\n"
    assert "hunter1" not in masked_text(text, NAME)


def test_a_secret_that_is_sent_becomes_a_placeholder_whose_file_is_read(tmp_path: Path) -> None:
    text = whole("rtsp://10.0.0.23/live", "rtsp://w:p%40ss%7Bw@10.0.0.23/live")
    text = text.replace("secret: hunter4", "secret: hunter7")
    kept, secrets = without_new_secrets(text, TEXT, NAME)
    assert sorted(secrets.values()) == ["hunter7", "p@ss{w"]
    assert "hunter7" not in kept
    assert "p%40ss" not in kept
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret)
    text = kept.replace("{SIGHTLINE_READER}", "x").replace('"{SIGHTLINE_DUTY}"', "x" * 32)
    loaded = parse_text(text, secrets=tmp_path)
    assert loaded.problems == ()
    assert loaded.cameras["open"].source_url == "rtsp://w:p%40ss%7Bw@10.0.0.23/live"
    hook = loaded.options.alerts.routes["hook"].secret
    assert hook is not None
    assert hook.get_secret_value() == "hunter7"


def test_a_whole_secret_url_is_kept_whole() -> None:
    text = TEXT.replace("https://hooks.example.org/hunter3", "https://hooks.example.org/hunter8")
    kept, secrets = without_new_secrets(text, TEXT, NAME)
    assert list(secrets.values()) == ["https://hooks.example.org/hunter8"]
    assert "hooks.example.org" not in kept
