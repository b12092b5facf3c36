//! Readings wait here, on disk, until the broker has acknowledged them.
