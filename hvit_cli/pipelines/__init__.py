"""One file per command: plain functions that yield a record per slide or epoch."""
