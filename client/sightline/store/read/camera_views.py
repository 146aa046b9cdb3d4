"""Whether cameras show what they were set up to show, read back as what it was written from."""

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import CameraView
from sightline.store import tables
from sightline.store.read.seen import Cameras

_VIEWS = tables.table_of(tables.CameraViewRow).c


def read_camera_views(connection: Connection, cameras: Cameras) -> list[CameraView]:
    """By name, of the cameras that the reader may see; None: of all."""
    query = sa.select(*_VIEWS).order_by(_VIEWS.source)
    if cameras is not None:
        query = query.where(_VIEWS.source.in_(cameras))
    return [CameraView(**tables.with_epochs(row._asdict())) for row in connection.execute(query)]
