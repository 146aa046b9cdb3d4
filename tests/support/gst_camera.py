"""An RTSP camera by GStreamer, for the system's Python: gst_camera.py VIDEO [USER PASSWORD] prints its port.

It sends over UDP too, and it asks clients on loopback for a password; go2rtc does neither. Of each
connection it prints a line. With ``aac`` or ``alaw`` in place of the user it sends the file's sound too.
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
video = Path(sys.argv[1]).resolve()
SOUNDS = {"aac": "aacparse ! rtpmp4gpay pt=97", "alaw": "rtppcmapay pt=8"}
launch = (
    f'filesrc location="{video}" ! qtdemux name=file  file. ! queue ! h264parse ! rtph264pay name=pay0 pt=96'
)
if sys.argv[2:] and sys.argv[2] in SOUNDS:
    launch += f"  file. ! queue ! {SOUNDS[sys.argv.pop(2)]} name=pay1"
factory.set_launch(f"( {launch} )")
if len(sys.argv) > 2:
    user, password = sys.argv[2:4]
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
