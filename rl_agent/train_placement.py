"""`python -m rl_agent.train_placement`: train a policy for the planner."""

from rl_agent.edge_placement.train import main

if __name__ == "__main__":
    main()
