"""The canary's part of ``config.yml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sightline.config.option_group import PROGRAM, OptionGroup

#: The canary's camera: its name in the database, in metrics and in status. No other camera may have it.
SOURCE = "sightline-canary"


class CanaryOptions(OptionGroup):
    """A simulated camera that runs beside the real ones, and is judged against its truth all the time."""

    enabled: bool = Field(
        False,
        description="Run the canary.",
        json_schema_extra=PROGRAM,
    )
    scene: Literal["street", "factory", "shop"] = Field(
        "street", description="What it sees.", json_schema_extra=PROGRAM
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        1, description="Seed of everything that happens in it.", json_schema_extra=PROGRAM
    )
    light: Literal["day", "dusk", "night"] = Field(
        "day", description="Time of day.", json_schema_extra=PROGRAM
    )
    weather: Literal["clear", "rain"] = Field(
        "clear", description="clear or rain.", json_schema_extra=PROGRAM
    )
    fps: Annotated[float, Field(gt=0, le=30)] = Field(
        5.0, description="Frames a second.", json_schema_extra=PROGRAM
    )
    length_s: Annotated[float, Field(ge=20, le=3600)] = Field(
        88.0, description="Length of the loop in seconds; each pass is judged.", json_schema_extra=PROGRAM
    )
    model: str | None = Field(
        None,
        description="Served detector that knows the scene; null: triton.model.",
        json_schema_extra=PROGRAM,
    )
    folder: Path = Field(
        Path(".sightline/canary"),
        description="Keeps its video, its truth and its tracks.",
        json_schema_extra=PROGRAM,
    )
