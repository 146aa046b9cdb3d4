"""What a camera's configuration says about shadow models: which candidate, and how much it may cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sightline.config.option_group import CAMERA, OptionGroup


class ShadowOptions(OptionGroup):
    """``shadow`` in ``config.yml``; a camera's keys are laid over those at the top."""

    model: str | None = Field(
        None,
        description="Served detector that is compared with the live one, as detector-2; null: none.",
        json_schema_extra=CAMERA,
    )
    share: Annotated[float, Field(ge=0.01, le=1)] = Field(
        0.1,
        description="Budget: share of a camera's time whose frames the candidate sees too.",
        json_schema_extra=CAMERA,
    )
    episode_s: Annotated[float, Field(ge=2, le=600)] = Field(
        30, description="Length of an episode; within one, both see every frame.", json_schema_extra=CAMERA
    )
    most_dropped: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1,
        description="An episode of which a larger share had to be left out is not compared.",
        json_schema_extra=CAMERA,
    )
    pictures: Annotated[int, Field(ge=0, le=20)] = Field(
        2,
        description="Pictures of the largest differences kept of an episode, where drift.consent allows.",
        json_schema_extra=CAMERA,
    )
    folder: Path = Field(
        Path("shadow"),
        description="Where episodes are kept, a folder for each camera.",
        json_schema_extra=CAMERA,
    )
    retention_days: Annotated[float, Field(gt=0, le=3650)] = Field(
        30, description="Older episodes are deleted, with their pictures.", json_schema_extra=CAMERA
    )
    max_bytes: Annotated[int, Field(ge=100_000)] = Field(
        200_000_000,
        description="Limit of a camera's folder; the oldest episodes are deleted first.",
        json_schema_extra=CAMERA,
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="The same seed chooses the same episodes.", json_schema_extra=CAMERA
    )
