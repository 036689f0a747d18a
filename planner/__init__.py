"""Ledger, placement, recorder, Python client and command line."""
