"""Logged decisions joined with their outcomes: how a row is written, stored and exported."""
