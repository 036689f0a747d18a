"""How many nodes one planner can listen to: what a report costs it through RabbitMQ, by the number of nodes.

    python benchmarks/heartbeats.py [--nodes 300 1000 3000]

A private RabbitMQ, one planner process on a SQLite ledger, and this process, which sends the reports of emulated nodes
as fast as the broker confirms them. The cost is processor time of the planner, whatever else the machine does. From it
follows how seldom that many nodes must report (LADLE_HEARTBEAT_S) so that reports take half of a core and jobs may take
the other half.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from planner_cost import report

from broker_config.app import make_app
from broker_config.calls import Report
from broker_config.publisher import Post, Publisher
from broker_config.rabbitmq.private import PrivateRabbitMQ
from broker_config.settings import Settings
from broker_config.topology import OUTCOMES_QUEUE
from planner.cli.processes import Processes, planner_command

MAX_CORE_SHARE = 0.5  # of one core for reports; the other half is for jobs
MESSAGES_PER_PUBLISH = 500  # each publish waits once for the confirms of all its messages
START_TIMEOUT_S = 120.0


def posts(nodes: int) -> list[Post]:
    """Return one report of each node."""
    return [Report(report(index)).post(mandatory=True, expires_s=None) for index in range(nodes)]


def measure(settings: Settings, planner: psutil.Process, nodes: int, reports: int) -> float:
    """Return the seconds of processor time that a report costs the planner when it knows `nodes` nodes."""
    app = make_app("bench", settings, queues=[OUTCOMES_QUEUE], include=[])
    publisher = Publisher(app, confirm_timeout_s=60.0)
    try:
        drain(publisher, app, posts(nodes))  # the planner meets the nodes
        several = posts(nodes) * -(-reports // nodes)
        before = sum(planner.cpu_times()[:2])
        drain(publisher, app, several)
        return (sum(planner.cpu_times()[:2]) - before) / len(several)
    finally:
        publisher.close()


def drain(publisher: Publisher, app, messages: list[Post]) -> None:  # noqa: ANN001  # Celery has no types
    """Publish all messages and wait until the planner has taken them."""
    for start in range(0, len(messages), MESSAGES_PER_PUBLISH):
        publisher.publish(messages[start : start + MESSAGES_PER_PUBLISH])
    with app.connection_for_read() as connection:
        queue = OUTCOMES_QUEUE(connection.default_channel)
        while queue.queue_declare(passive=True).message_count:
            time.sleep(0.02)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--reports", type=int, default=6000)
    options = parser.parse_args()
    print(f"{'nodes':>8}{'ms per report':>16}{'LADLE_HEARTBEAT_S at least':>30}")
    with tempfile.TemporaryDirectory() as folder, PrivateRabbitMQ(Path(folder) / "rabbitmq") as broker:
        for nodes in options.nodes:
            settings = Settings(
                data_dir=Path(folder) / str(nodes), broker_url=broker.url, node_timeout_s=3600, _env_file=None
            )
            settings.data_dir.mkdir()
            with Processes(settings=settings, logs=settings.data_dir) as processes:
                planner = processes.start("planner", planner_command()).process
                wait_for_planner(settings.data_dir / "planner.log")
                assert planner is not None  # it has just been started
                cost_s = measure(settings, psutil.Process(planner.pid), nodes, options.reports)
            print(f"{nodes:>8,}{1e3 * cost_s:16.2f}{nodes * cost_s / MAX_CORE_SHARE:30.1f}", flush=True)


def wait_for_planner(log: Path) -> None:
    """Wait until the planner consumes its queues."""
    give_up = time.monotonic() + START_TIMEOUT_S
    while " ready." not in log.read_text():
        if time.monotonic() > give_up:
            raise SystemExit(f"the planner did not start: see {log}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
