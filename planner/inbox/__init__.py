"""How messages reach the planner: in batches, and only from senders that may send them."""
