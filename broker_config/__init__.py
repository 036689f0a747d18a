"""Settings, Celery app, queue topology, wire messages and the SQLite transport."""
