"""Whether cameras show what they were set up to show, read back as what it was written from."""

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import CameraView
from sightline.store import tables
from sightline.store.read.seen import Cameras, is_seen

_VIEWS = tables.table_of(tables.CameraViewRow).c


def read_camera_views(connection: Connection, cameras: Cameras) -> list[CameraView]:
    """By name, of the cameras that the reader may see; None: of all."""
    query = sa.select(*_VIEWS).where(is_seen(_VIEWS.source, cameras)).order_by(_VIEWS.source)
    return [CameraView(**tables.with_epochs(row._asdict())) for row in connection.execute(query)]
