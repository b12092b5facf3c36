//! A camera: GStreamer's RTSP server on a free port, which can be killed, stalled and brought back.
