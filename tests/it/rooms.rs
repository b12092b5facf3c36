//! Processes: supervisor, sandbox, service.
