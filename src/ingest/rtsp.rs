//! GStreamer pipelines that end in access units.
