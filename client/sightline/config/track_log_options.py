"""What a configuration says about keeping tracks, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sightline.config.option_group import CAMERA, OptionGroup


class TrackLogOptions(OptionGroup):
    """``track_log`` in ``config.yml``; a camera's keys are laid over those at the top."""

    folder: Path | None = Field(
        None,
        description="Where to keep what the tracker saw, frame by frame; null: nowhere.",
        json_schema_extra=CAMERA,
    )
    max_bytes: Annotated[int, Field(ge=100_000)] = Field(
        200_000_000,
        description="Limit of a camera's kept tracks; the older half is deleted first.",
        json_schema_extra=CAMERA,
    )
    time_code: bool = Field(
        False,
        description="Also keep the time code in the pictures of a simulated camera.",
        json_schema_extra=CAMERA,
    )
