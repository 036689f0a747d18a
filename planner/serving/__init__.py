"""The learned policy in service: which version decides, and whether it stays."""
