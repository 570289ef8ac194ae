"""The projection: sessions, calls and approvals as rows, folded from the journal into SQLite."""
