"""Environments, LAD-TS, baselines, experience log and retraining. Importing it registers the Gymnasium ids."""

from rl_agent.envs import register_with_gymnasium

register_with_gymnasium()
