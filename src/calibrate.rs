//! `--dry-run`: the same ingest and infer, into a report instead of a broker.
