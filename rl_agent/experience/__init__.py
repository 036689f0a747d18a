"""Decisions joined with their outcomes: how they are encoded, stored and exported."""
