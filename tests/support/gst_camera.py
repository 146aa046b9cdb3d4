"""An RTSP camera by GStreamer, for the system's Python: gst_camera.py VIDEO [--shared] [USER PASSWORD].

It prints its port, and a line for each connection. It sends over UDP too, asks clients on loopback for a
password, and sends reports of its clock; go2rtc does none of it. ``--shared``: all clients see one moment.
"""

import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
words = [word for word in sys.argv[1:] if word != "--shared"]
video = Path(words[0]).resolve()
factory.set_shared("--shared" in sys.argv)
factory.set_launch(f'( filesrc location="{video}" ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 )')
if len(words) > 1:
    user, password = words[1:3]
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
server.connect("client-connected", lambda *_: print("client", flush=True))  # noqa: T201
print(server.get_bound_port(), flush=True)  # noqa: T201
GLib.MainLoop().run()
