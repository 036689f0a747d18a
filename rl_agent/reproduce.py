"""`python -m rl_agent.reproduce`: the paper's learning curve and sweeps."""

from broker_config.extras import exit_unless_installed

if __name__ == "__main__":
    exit_unless_installed("train", "`python -m rl_agent.reproduce`")
    from rl_agent.reproduction.reproduce import command

    command()
