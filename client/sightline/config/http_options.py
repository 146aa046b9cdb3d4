"""The address of health, status and metrics."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sightline.config.option_group import HOT, OptionGroup


class HttpOptions(OptionGroup):
    """``http`` in ``config.yml``."""

    host: str = Field("127.0.0.1", description="Address to listen on.", json_schema_extra=HOT)
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        8080, description="Port; 0 picks a free one.", json_schema_extra=HOT
    )
