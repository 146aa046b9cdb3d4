"""Where results go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from sightline.config.option_group import PROGRAM, OptionGroup


class DatabaseOptions(OptionGroup):
    """``database`` in ``config.yml``."""

    url: SecretStr = Field(
        SecretStr("sqlite:///sightline.db"),
        description="sqlite:///FILE or postgresql://USER:…@HOST/NAME.",
        json_schema_extra=PROGRAM,
    )
    spool_path: Path = Field(
        Path("sightline-spool.db"),
        description="Keeps results on disk while the database is away.",
        json_schema_extra=PROGRAM,
    )
    spool_max_bytes: Annotated[int, Field(ge=1_000_000)] = Field(
        256_000_000,
        description="Limit of that file; when it is full, the oldest windows are dropped and counted.",
        json_schema_extra=PROGRAM,
    )
