"""A media server by GStreamer, for the system's Python: gst_recorder.py PORT OUT.ts [USER PASSWORD].

It takes H.264 by RTSP at /boxes, after digest authentication where a user is named, and records it. It prints
its port.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

Gst.init(None)
port, path, *login = sys.argv[1:]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
factory.set_launch(
    f'( rtph264depay name=depay0 ! h264parse ! mpegtsmux ! filesink buffer-mode=2 location="{path}" )'
)
if login:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "publisher")
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest(*login, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("publisher", "media.factory.access", True)
    permissions.add_permission_for_role("publisher", "media.factory.construct", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory("/boxes", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)  # noqa: T201
GLib.MainLoop().run()
