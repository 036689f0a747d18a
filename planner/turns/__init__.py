"""One turn of the planner: what messages change, what is placed, written and published."""
