"""One small round of retraining, in a module that another process can import: a test may kill it there."""

from __future__ import annotations

from pathlib import Path

from broker_config.settings import Settings
from rl_agent.retraining.plan import RetrainingPlan
from rl_agent.retraining.retrainer import Retrainer

UNBOUNDED = {"retrain_min_outcomes": 1, "retrain_share": 1.0}
"""Settings with which a round may begin whenever there is something new."""
SMALL = RetrainingPlan(
    trials=6,
    searched=2,
    decisions=400,
    round_decisions=200,
    seconds=60.0,
    episode_jobs=60,
    episodes=4,
    validations=3,
    repeats=2,
)


def retrain(data_dir: Path, policy: str) -> None:
    """Retrain the site of `data_dir`, whose settings name this policy."""
    Retrainer(Settings(_env_file=None, data_dir=data_dir, policy=policy, **UNBOUNDED), SMALL).run()
