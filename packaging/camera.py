#!/usr/bin/env python3
"""camera.py CLIP USER PASSWORD: an RTSP camera at port 8554 of loopback that plays a recording and requires a password.

It uses GStreamer's own server as packaged by Debian. packaging/machine.sh runs it.
"""

import sys

import gi

for name in ("Gst", "GstRtsp", "GstRtspServer"):
    gi.require_version(name, "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

clip, user, password = sys.argv[1:]
Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service="8554")

auth = GstRtspServer.RTSPAuth()
viewer = GstRtspServer.RTSPToken()
viewer.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
auth.add_digest(user, password, viewer)
server.set_auth(auth)

factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( filesrc location={clip} ! qtdemux name=clip"
    " clip.video_0 ! queue ! h264parse ! rtph264pay config-interval=-1 name=pay0 pt=96"
    " clip.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
)
factory.add_role_from_structure(
    Gst.Structure.from_string("viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true")[0]
)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
GLib.MainLoop().run()
