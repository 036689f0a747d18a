"""`python -m rl_agent.train_placement`: train a policy for the planner."""

from broker_config.extras import exit_unless_installed

if __name__ == "__main__":
    exit_unless_installed("train", "`python -m rl_agent.train_placement`")
    from rl_agent.edge_placement.train import main

    main()
