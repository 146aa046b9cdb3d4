"""What a configuration says about drift: consent to keep pictures, how many, how long, what is blurred."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sightline.config.option_group import CAMERA, OptionGroup


class Blurred(StrEnum):
    """What is made unrecognisable in a kept picture, as far as the detector found it."""

    FACES = "faces"  # the upper part of every box of a person
    PLATES = "plates"  # the lower part of every box of a vehicle
    PERSONS = "persons"  # every box of a person, whole
    VEHICLES = "vehicles"  # every box of a vehicle, whole


class DriftOptions(OptionGroup):
    """``drift`` in ``config.yml``; a camera's keys are laid over those at the top."""

    consent: bool = Field(
        False,
        description="True, in a camera: its pictures may be kept. Withdrawn: kept ones are deleted.",
        json_schema_extra=CAMERA,
    )
    signals: bool = Field(
        True,
        description="Keep numbers of boxes, scores and light for each hour; no pictures.",
        json_schema_extra=CAMERA,
    )
    folder: Path = Field(
        Path("drift"),
        description="Where sampled pictures are kept, a folder for each camera.",
        json_schema_extra=CAMERA,
    )
    every_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        600,
        description="Each kind of frame (no boxes, weak, crowded, others) is offered once in this time.",
        json_schema_extra=CAMERA,
    )
    per_stratum: Annotated[int, Field(ge=1, le=1000)] = Field(
        4,
        description="Pictures kept of a day, for each kind of frame and level of light.",
        json_schema_extra=CAMERA,
    )
    retention_days: Annotated[float, Field(gt=0, le=3650)] = Field(
        30,
        description="Older pictures are deleted, also those of cameras that no longer run.",
        json_schema_extra=CAMERA,
    )
    max_bytes: Annotated[int, Field(ge=10_000)] = Field(
        500_000_000,
        description="Limit of a camera's pictures; the oldest are deleted first.",
        json_schema_extra=CAMERA,
    )
    blur: tuple[Blurred, ...] = Field(
        (Blurred.FACES, Blurred.PLATES),
        description="What is blurred before a picture is written: faces, plates, persons, vehicles.",
        json_schema_extra=CAMERA,
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="The same seed chooses the same frames.", json_schema_extra=CAMERA
    )
