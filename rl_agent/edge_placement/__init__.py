"""EdgePlacement-v1: the planner's own semantics in continuous time, on emulated nodes."""
