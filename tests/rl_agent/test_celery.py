from __future__ import annotations

import os
import subprocess
import sys
import time

from logged_site import log_of, write_log

from broker_config.settings import Settings, environment
from rl_agent.edge_placement.scenario import ScenarioSpec
from rl_agent.placers import RandomPlacer

TIMEOUT_S = 90.0


def test_the_beat_begins_a_round_on_the_embedded_broker(tmp_path):
    # Given a log with too little in it, so that a round is short
    settings = Settings(_env_file=None, data_dir=tmp_path, retrain_every_s=1.0)
    write_log(settings.database, log_of(ScenarioSpec(n_nodes=2, jobs_per_node=5).draw(0), RandomPlacer(seed=0)))
    log = tmp_path / "train.log"
    # When the plain Celery command runs
    command = [sys.executable, "-m", "celery", "-A", "rl_agent", "worker", "-Q", "train", "-P", "threads", "-c", "1"]
    options = ["-B", "--without-gossip", "--without-mingle", "-l", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options], env={**os.environ, **environment(settings)}, stdout=output, stderr=output
        )
    # Then it does a round
    try:
        give_up = time.monotonic() + TIMEOUT_S
        while "usable experiences" not in log.read_text() and time.monotonic() < give_up:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        assert "10 usable experiences, 60 are needed" in log.read_text()
    finally:
        process.terminate()
        process.wait(20)
