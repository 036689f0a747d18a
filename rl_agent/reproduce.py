"""`python -m rl_agent.reproduce`: the paper's learning curve and sweeps."""

from rl_agent.reproduction.reproduce import command

if __name__ == "__main__":
    command()
