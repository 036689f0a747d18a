"""The live page of the gateway: what a browser shows of jobs, nodes and policy, and what an operator does there."""
