"""Where results go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from sightline.config.option_group import PROGRAM, OptionGroup


def _check_url(url: SecretStr) -> SecretStr:
    if not re.match(r"(sqlite(\+pysqlite)?:///.|postgres(ql)?(\+psycopg)?://)", url.get_secret_value()):
        raise PydanticCustomError(
            "database", "must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        )
    return url


class DatabaseOptions(OptionGroup):
    """``database`` in ``config.yml``."""

    url: Annotated[SecretStr, AfterValidator(_check_url)] = Field(
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
