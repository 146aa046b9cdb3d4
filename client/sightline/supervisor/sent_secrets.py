"""Secrets that people have sent: files for their owner alone, beside the configuration that names them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sightline.errors import ConfigError


@contextmanager
def keeping(secrets: Mapping[str, str], folder: Path, config: Path) -> Iterator[None]:
    """Write secrets, which are taken away again if what follows fails; then those that nothing names go.

    Args:
        secrets: by the names of their placeholders.
        folder: made, for its owner alone.
        config: the configuration's file, whose owner they get. The copy beside it may name some too.

    Raises:
        ConfigError: they cannot be written.
    """
    paths = [folder / name for name in secrets]
    try:
        try:
            for path, secret in zip(paths, secrets.values(), strict=True):
                folder.mkdir(mode=0o700, exist_ok=True)
                _write(path, secret, config)
        except OSError as error:
            problem = f"cannot take a secret ({error.strerror}); nothing was changed"
            raise ConfigError("", problem, place=str(folder)) from error
        yield
    except BaseException:
        for path in paths:
            with suppress(OSError):
                path.unlink()
        raise
    _remove_unnamed(folder, (config, config.with_name(f"{config.name}.bak")))


def _write(path: Path, secret: str, config: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    if os.geteuid() == 0:  # the program may run as the file's owner next time
        owner = config.stat()
        for made in (path.parent, path):
            os.chown(made, owner.st_uid, owner.st_gid)


def _remove_unnamed(folder: Path, configs: tuple[Path, ...]) -> None:
    with suppress(OSError):  # another time will do
        texts = [path.read_text(encoding="utf-8") for path in configs if path.exists()]
        for path in folder.iterdir():
            if not any(f"{{{path.name}}}" in text for text in texts):
                path.unlink()
