"""Where the detectors are served, and how pictures get there."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sightline.config.option_group import CAMERA, OptionGroup


class Transport(StrEnum):
    """How pictures reach Triton."""

    AUTO = "auto"  # cuda, else system, else grpc: the first that client and server can share
    CUDA = "cuda"
    SYSTEM = "system"
    GRPC = "grpc"


class TritonOptions(OptionGroup):
    """``triton`` in ``config.yml``. A change reconnects every camera."""

    url: Annotated[str, Field(pattern=r"^[^/\s]+:\d+$")] = Field(
        "127.0.0.1:8001",
        description="host:port of Triton's gRPC, without a scheme.",
        json_schema_extra=CAMERA,
    )
    model: str = Field(
        "detector",
        description="Served detector of every camera that names none.",
        json_schema_extra=CAMERA,
    )
    transport: Transport = Field(
        Transport.AUTO, description="How pictures reach Triton.", json_schema_extra=CAMERA
    )
    deadline_s: Annotated[float, Field(gt=0, le=60)] = Field(
        2.0, description="A frame without an answer after this long is dropped.", json_schema_extra=CAMERA
    )
    in_flight: Annotated[int, Field(ge=1, le=8)] = Field(
        3,
        description="Requests in flight for a camera; one more than the engine works on at once.",
        json_schema_extra=CAMERA,
    )
    priority: Annotated[int, Field(ge=0, le=2)] = Field(
        0, description="Triton's queue priority; 0: default.", json_schema_extra=CAMERA
    )
