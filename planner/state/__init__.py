"""What the planner holds in memory: jobs, who waits, nodes and their attempts, predictions."""
