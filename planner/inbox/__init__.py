"""How messages reach the planner: in batches, and only from who may send them."""
