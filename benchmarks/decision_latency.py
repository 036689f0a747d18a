"""Time of a served decision on one core: forward pass and whole placement, over batch sizes and fleets.

    OMP_NUM_THREADS=1 python benchmarks/decision_latency.py

Prints the shortest of several repetitions, in numpy (as it is served) and in torch (the same network, if torch is
installed), and the memory that a serving process needs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rl_agent.placing.estimates import Estimates
from rl_agent.placing.observation import JobView, NodeView, Observation, observe
from rl_agent.placing.rules import PatientCompletionPlacer
from rl_agent.policy.file import load_policy
from rl_agent.policy.learned_placer import LearnedPlacer, shipped_policy
from rl_agent.policy.node_policy import NodePolicy
from rl_agent.policy.rows import COLUMN

NODES = (3, 20, 50, 200, 1000)  # latency grows with the nodes: from the smallest fleet to a hub with a thousand
BATCHES = (1, 20, 500)  # jobs at once: an idle planner, a busy one, a burst
PLACED = ((20, 1), (20, 32), (20, 64), (20, 500), (200, 64), (1000, 1), (1000, 32), (1000, 64))  # nodes, jobs that wait
STATUS = "/proc/self/status"


def shortest_s(call: Callable[[], object], budget_s: float = 1.0) -> float:
    """Return the shortest time of `call` within the budget, after one call to warm up."""
    call()
    best_s, end_s = np.inf, time.perf_counter() + budget_s
    while time.perf_counter() < end_s:
        begun_s = time.perf_counter()
        call()
        best_s = min(best_s, time.perf_counter() - begun_s)
    return float(best_s)


def observation(jobs: int, nodes: int, room: int) -> Observation:
    """Return `jobs` jobs of three models over `nodes` nodes with random backlogs."""
    generator = np.random.default_rng(0)
    views = [
        NodeView(node=f"n{k:04d}", backlog_s=float(generator.uniform(0, 20)), room=room, resident=(f"m{k % 3}",))
        for k in range(nodes)
    ]
    waiting = [JobView(job=f"j{n}", model=f"m{n % 3}", units=float(generator.uniform(1, 30))) for n in range(jobs)]
    return observe(waiting, views, Estimates())


def rows(jobs: int, nodes: int) -> np.ndarray:
    """(jobs, nodes, columns) of random numbers, all nodes eligible."""
    matrix = np.random.default_rng(0).normal(size=(jobs, nodes, len(COLUMN))).astype(np.float32)
    matrix[:, :, COLUMN["eligible"]] = 1.0
    return matrix


def torch_chain() -> Callable[[np.ndarray], object] | None:
    """Return the shipped policy's chain in torch, None when torch is not installed."""
    try:
        import torch as th

        from rl_agent.edge_placement.env import placement_layout
        from rl_agent.ladts.diffusion import DenoisingChain
        from rl_agent.ladts.networks import NodeDenoiser
    except ImportError:
        return None
    th.set_num_threads(1)
    card = load_policy(shipped_policy()).card
    layout = placement_layout(1)
    columns = [*layout.job, *layout.node, COLUMN["eligible"]]
    denoiser = NodeDenoiser(len(columns) - 1, card.n_denoising_steps, card.hidden)
    chain = DenoisingChain(denoiser, card.n_denoising_steps, prediction="scored")

    def run(matrix: np.ndarray) -> object:
        with th.no_grad():
            tensor = th.as_tensor(matrix)
            score = tensor[:, :, COLUMN["score"]]
            return chain(score, tensor[:, :, columns], tensor[:, :, COLUMN["eligible"]] > 0, True, score)

    return run


def peak_mib(status: str) -> float:
    """Return the peak resident memory that Linux reports of a process."""
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    shipped = load_policy(shipped_policy())
    card = shipped.card
    policy, placer, in_torch = NodePolicy(shipped.weights, card.n_denoising_steps), LearnedPlacer(), torch_chain()
    print(f"policy {card.version}: {card.hidden} hidden units, {card.n_denoising_steps} denoising steps\n")
    print("| nodes | batch | numpy ms | numpy decisions/s | torch ms |")
    print("|---|---|---|---|---|")
    for nodes in NODES:
        for batch in BATCHES:
            matrix, latent = rows(batch, nodes), np.full((batch, nodes), np.nan, dtype=np.float32)
            numpy_s = shortest_s(lambda m=matrix, x=latent: policy.logits(m, x))  # type: ignore[misc]
            torch_s = shortest_s(lambda m=matrix: in_torch(m)) if in_torch else np.nan  # type: ignore[misc]
            print(f"| {nodes} | {batch} | {numpy_s * 1e3:.3f} | {batch / numpy_s:,.0f} | {torch_s * 1e3:.3f} |")
    print("\n| nodes | jobs WAITING | free places | whole `place` of lad-ts, ms | of patient-completion, ms |")
    print("|---|---|---|---|---|")
    rule = PatientCompletionPlacer()
    room = 2
    for nodes, jobs in PLACED:
        seen = observation(jobs, nodes, room)
        took_ms = [1e3 * shortest_s(lambda p=one, s=seen: p.place(s)) for one in (placer, rule)]  # type: ignore[misc]
        print(f"| {nodes} | {jobs} | {nodes * room} | {took_ms[0]:.3f} | {took_ms[1]:.3f} |")
    code = f"import rl_agent.policy.learned_placer as p; p.LearnedPlacer(); print(open('{STATUS}').read())"
    serving = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    print(f"\npeak memory of a process that serves: {peak_mib(serving):.0f} MiB; ", end="")
    print(f"of this one, with torch: {peak_mib(Path(STATUS).read_text()):.0f} MiB")


if __name__ == "__main__":
    main()
