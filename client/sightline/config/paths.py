"""Files and folders that a configuration names, and whether they are what it takes them for."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sightline.config.camera import Camera
from sightline.config.groups import Config
from sightline.config.option_group import OptionGroup
from sightline.config.upload_options import UploadOptions
from sightline.errors import ConfigError

MAX_NAME_BYTES = 255


def program_path_problems(options: Config) -> Iterator[ConfigError]:
    """What is wrong with those of the program on this machine, for this user; nothing is made."""
    database = options.database
    scheme, _, file = database.url.get_secret_value().partition(":///")
    if scheme.startswith("sqlite"):
        yield from _problem("database.url", _writable(Path(file.partition("?")[0])))
    yield from _problem("database.spool_path", _writable(database.spool_path))
    for name, broker in (("kafka", options.streams.kafka), ("mqtt", options.streams.mqtt)):
        for key in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
            if path := getattr(broker, key, None):
                yield from _problem(f"streams.{name}.{key}", _readable(path))
    for key in ("tls_cert", "tls_key"):
        if path := getattr(options.http, key):
            yield from _problem(f"http.{key}", _readable(path))
    if options.canary.enabled:
        yield from _problem("canary.folder", _folder(options.canary.folder))


def upload_path_problems(options: Config) -> Iterator[ConfigError]:
    """Whether the folder for uploads is there; a program that runs waits for it."""
    if (path := options.uploads.folder) is not None:
        missing = f"{str(path)!r} is not there; make the folder, or mount what holds it"
        yield from _problem("uploads.url", _folder(path) if os.path.lexists(path) else missing)


def camera_path_problems(cameras: Mapping[str, Camera]) -> Iterator[ConfigError]:
    """The same of those of the cameras."""
    for name, camera in cameras.items():
        if not camera.enabled:
            continue
        if camera.file:
            yield from _problem("sub_url" if camera.sub_url else "url", _readable(camera.file), name)
        for group in ("stream", "output"):
            if path := getattr(camera, group).tls_ca_file:
                yield from _problem(f"{group}.tls_ca_file", _readable(path), name)
        folders = {"track_log": camera.track_log.folder}
        folders["drift"] = camera.drift.folder if camera.drift.consent else None
        folders["clips"] = camera.clips.folder if camera.clips.enabled else None
        folders["shadow"] = camera.shadow.folder if camera.shadow.model else None
        for group, folder in folders.items():
            if folder:
                yield from _problem(f"{group}.folder", _folder(folder), name)


def named_paths(options: OptionGroup, names: Iterable[str], prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Files and folders that these options of a group name, and those below them, by their dotted keys."""
    if isinstance(options, UploadOptions) and options.folder is not None:
        yield f"{prefix}url", options.folder
    for name in names:
        value = getattr(options, name)
        if isinstance(value, Path):
            yield prefix + name, value
        elif isinstance(value, OptionGroup):
            yield from named_paths(value, type(value).model_fields, f"{prefix}{name}.")


def _problem(key: str, text: str, camera: str | None = None) -> Iterator[ConfigError]:
    if text:
        yield ConfigError(key, text, camera)


def _readable(path: Path) -> str:
    problem = ""
    try:
        if path.is_dir():
            problem = "is a folder"
        elif not os.access(path, os.R_OK):
            path.stat()
            problem = "may not be read by this user"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    return f"{str(path)!r} {problem}; name a file that is there" if problem else ""


def _writable(path: Path) -> str:
    if problem := _folder(path.parent) or _name(path):
        return problem
    if path.is_dir():
        return f"{str(path)!r} is a folder; name a file"
    if os.path.lexists(path) and not os.access(path, os.W_OK):
        return f"{str(path)!r} may not be written by this user; change its mode or name another file"
    return ""


def _name(path: Path) -> str:
    if len(os.fsencode(path.name)) <= MAX_NAME_BYTES:
        return ""
    return f"{path.name[:20] + '…'!r} is longer than a name may be ({MAX_NAME_BYTES} bytes)"


def _folder(path: Path) -> str:
    if problem := next(filter(None, map(_name, (path, *path.parents))), ""):
        return problem
    there = next(parent for parent in (path, *path.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        return f"{str(there)!r} is no folder; name another"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"this user may not write into the folder {str(there)!r}; change its mode or name another"
    return ""
