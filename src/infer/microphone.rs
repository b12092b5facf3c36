//! The microphone through cpal.
