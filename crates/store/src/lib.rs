//! The event journal: SQLite, one writer.
