//! The parent: starts the three rooms, watches them, restarts what dies, stops them.
