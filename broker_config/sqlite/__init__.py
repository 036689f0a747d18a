"""The embedded broker: a kombu transport on one SQLite file, for one machine with nothing installed."""
