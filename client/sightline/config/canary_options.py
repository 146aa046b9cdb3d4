"""The canary's part of ``config.yml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

#: The canary's camera: its name in the database, in metrics and in status. No other camera may have it.
SOURCE = "sightline-canary"


class CanaryOptions(BaseModel):
    """A simulated camera that runs beside the real ones, and is judged against its truth all the time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(False, description="Run the canary; a restart is needed to change any of this.")
    scene: Literal["street", "factory", "shop"] = Field("street", description="What it sees.")
    seed: Annotated[int, Field(ge=0)] = Field(1, description="Of everything that happens in it.")
    light: Literal["day", "dusk", "night"] = Field("day", description="Time of day.")
    weather: Literal["clear", "rain"] = Field("clear", description="clear or rain.")
    fps: Annotated[float, Field(gt=0, le=30)] = Field(5.0, description="Frames a second.")
    length_s: Annotated[float, Field(ge=20, le=3600)] = Field(
        88.0, description="Length of the loop in seconds; each pass is judged."
    )
    model: str | None = Field(None, description="Served detector that knows the scene; null: triton.model.")
    folder: Path = Field(Path(".sightline/canary"), description="Keeps its video, its truth and its tracks.")
