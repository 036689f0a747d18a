"""What must be true after a soak: of the ledger, of the image store, and of the memory of the processes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil
from sqlalchemy import select
from sqlmodel import col

from benchmarks.soak_watch import Watch
from broker_config.messages import JobState
from broker_config.settings import Settings
from planner.cli.processes import Service
from planner.ledger.ledger import Ledger
from planner.ledger.tables import AttemptRow, JobRow
from planner.turns.book import MAX_PLACEMENTS_PER_FAILURE

STATE_OF_ANSWER = {
    "DONE": JobState.DONE,
    "JobCancelledError": JobState.CANCELLED,
    "JobExpiredError": JobState.EXPIRED,
    "JobFailedError": JobState.FAILED,
}
SAMPLE_EVERY_S = 1.0
WARM_UP_S = 20.0  # imports, first connections, caches of statements
MIN_SAMPLES = 30  # ten a third, so that one outlier does not move its median
MAX_GROWTH_MIB = 10.0
"""Growth from the first to the last third of a process's life. A planner that kept 5 KB of each job would pass
it within ten minutes; what the allocator keeps of the burst after a broker's death stays below it."""
SHOWN_PROBLEMS = 20  # one screen; a broken invariant shows in every job


def audit(ledger: Ledger, settings: Settings, heard: Mapping[str, str | None]) -> list[str]:
    """Compare the ledger with what was promised, for every job whose submit returned."""
    with ledger.transaction(reads=True) as connection:
        jobs = {row.id: row for row in connection.execute(select(JobRow))}
        attempts: dict[str, list[str | None]] = defaultdict(list)
        for job, result in connection.execute(select(col(AttemptRow.job), col(AttemptRow.result))):
            attempts[job].append(result)
    problems = [f"{job}: confirmed, and not in the ledger" for job in heard if job not in jobs]
    for job, row in jobs.items():
        problems += [f"{job}: {what}" for what in _wrong_with(row, attempts[job], heard.get(job), settings)]
    return problems[:SHOWN_PROBLEMS] + [f"and {len(problems) - SHOWN_PROBLEMS} more"] * (len(problems) > SHOWN_PROBLEMS)


def _wrong_with(row: JobRow, results: list[str | None], answer: str | None, settings: Settings) -> list[str]:
    is_done = row.state == JobState.DONE
    files = list(Path(settings.data_dir, "images", row.id).glob("*"))
    claims = {
        f"{row.state} is no end": not JobState(row.state).is_terminal,
        f"its client heard {answer}, and it is {row.state}": STATE_OF_ANSWER.get(str(answer)) != row.state,
        f"{results.count('done')} attempts are done, and it is {row.state}": results.count("done") != is_done,
        "an attempt is open": None in results,
        f"{len(results)} attempts": not is_done <= len(results) <= settings.max_attempts * MAX_PLACEMENTS_PER_FAILURE,
        f"{len(row.images or [])} images": len(row.images or []) != is_done,
        f"{len(files)} files": len(files) > 1 or len(files) < is_done,
    }
    return [claim for claim, is_so in claims.items() if is_so]


class MemoryLog(Watch):
    """Samples the resident memory of each process, from its start to its death or the end of the block."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        super().__init__("soak-memory", SAMPLE_EVERY_S)
        self._services = services
        self._samples: dict[tuple[str, int], list[float]] = defaultdict(list)

    def problems(self) -> list[str]:
        """Say which process has grown."""
        return [
            f"{name} grew from {first:.0f} to {last:.0f} MiB: more than {MAX_GROWTH_MIB:g}"
            for name, (first, last, _) in self._lives().items()
            if last - first > MAX_GROWTH_MIB
        ]

    def rows(self) -> dict[str, str]:
        """Return lines for the table."""
        return {
            f"MiB of {name}, first and last third of {seconds:.0f} s": f"{first:.1f} to {last:.1f}"
            for name, (first, last, seconds) in self._lives().items()
        }

    def _lives(self) -> dict[str, tuple[float, float, float]]:
        """Return of the longest life of each process the medians of its first and last third, and its seconds."""
        longest: dict[str, tuple[float, float, float]] = {}
        for (name, _), samples in sorted(self._samples.items(), key=lambda item: len(item[1])):
            third = len(samples) // 3
            if len(samples) >= MIN_SAMPLES:
                longest[name] = (
                    statistics.median(samples[:third]),
                    statistics.median(samples[-third:]),
                    len(samples) * SAMPLE_EVERY_S,
                )
        return longest

    def look(self) -> None:
        """Sample every process that has warmed up."""
        for name, service in self._services.items():
            if service.process is None or time.monotonic() - service.started_at < WARM_UP_S:
                continue
            try:
                mib = psutil.Process(service.process.pid).memory_info().rss / 2**20
            except psutil.NoSuchProcess:
                continue
            self._samples[name, service.process.pid].append(mib)
