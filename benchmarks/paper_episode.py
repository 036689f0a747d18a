"""Wall time of one paper-mode episode with its updates: LADTS beside a loop with the structure of the published code.

The slow loop follows the published structure: one agent per server with networks and a replay buffer of its own, one
forward pass of batch 1 per decision through the five-step chain, plain Python bookkeeping per task, one update of batch
64 per agent and slot. It is written from the description, with this package's networks, and also keeps the quirks that
docs/lad_ts.md lists (softmax on the denoiser, raw backlogs, views of the latent table, target entropy -1). It learns
from 75,520 samples per episode; "LAD-TS, published" from as many, the default learners from fewer.

Run: python benchmarks/paper_episode.py [--slots 59] [--tasks 50]
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.utils import polyak_update

from rl_agent.edge_offloading.scenario import OffloadingScenario
from rl_agent.ladts.networks import FlatNetwork
from rl_agent.ladts.numpy_chain import TIME_EMBEDDING_SIZE, variance_schedule
from rl_agent.reproduction.learners import LEARNERS

Transition = tuple[np.ndarray, int, float, np.ndarray, th.Tensor, th.Tensor]


class PlainChain(th.nn.Module):
    """The chain as diffusion code is usually written: constants gathered and embeddings computed at every step."""

    def __init__(self, n_inputs: int, n_servers: int, n_steps: int = 5) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.network = FlatNetwork(n_inputs + n_servers + TIME_EMBEDDING_SIZE, n_servers)
        for name, values in variance_schedule(n_steps).items():
            self.register_buffer(name, th.from_numpy(values))

    def embed(self, t: th.Tensor) -> th.Tensor:
        """Return sinusoidal embeddings of the steps ``t``, shape (batch, size)."""
        half = TIME_EMBEDDING_SIZE // 2
        frequency = th.exp(th.arange(half) * -(np.log(10_000) / (half - 1)))
        angle = t[:, None] * frequency[None, :]
        return th.cat((angle.sin(), angle.cos()), dim=-1)

    def at(self, constants: th.Tensor, t: th.Tensor) -> th.Tensor:
        """Return the constants of steps ``t``, shape (batch, 1)."""
        return constants.gather(-1, t).reshape(-1, 1)

    def forward(self, x: th.Tensor, state: th.Tensor) -> th.Tensor:
        """Return x_0 for chains that start at ``x``."""
        for i in reversed(range(self.n_steps)):
            t = th.full((len(x),), i, dtype=th.long)
            noise = th.softmax(self.network(th.cat([x, self.embed(t), state], dim=1)), dim=-1)
            alpha_bar = self.at(self.alpha_bar, t)
            x0 = th.sqrt(1.0 / alpha_bar) * x - th.sqrt(1.0 / alpha_bar - 1) * noise
            mean = self.at(self.posterior_of_x0, t) * x0 + self.at(self.posterior_of_xi, t) * x
            is_not_last = (1 - (t == 0).float()).reshape(-1, 1)
            x = mean + is_not_last * self.at(self.posterior_std, t) * th.randn_like(x)
        return x


class PublishedAgent:
    """One station's actor, critics and replay buffer."""

    def __init__(self, n_servers: int) -> None:
        n_inputs = 2 + n_servers
        self.actor = PlainChain(n_inputs, n_servers)
        self.critics = th.nn.ModuleList(FlatNetwork(n_inputs, n_servers) for _ in range(2))
        self.targets = th.nn.ModuleList(FlatNetwork(n_inputs, n_servers) for _ in range(2))
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = th.tensor(np.log(0.05), dtype=th.float32, requires_grad=True)
        self.actor_optimizer = th.optim.Adam(self.actor.parameters(), lr=1e-4)
        self.critic_optimizers = [th.optim.Adam(critic.parameters(), lr=1e-3) for critic in self.critics]
        self.alpha_optimizer = th.optim.Adam([self.log_alpha], lr=3e-4)
        self.buffer: deque[Transition] = deque(maxlen=1000)

    def act(self, state: np.ndarray, latent: th.Tensor) -> tuple[int, th.Tensor]:
        """Place one task; return the server and the probabilities, which replace the latent action."""
        with th.no_grad():
            logits = self.actor(latent[None], th.as_tensor(state, dtype=th.float32)[None])
            probabilities = th.softmax(logits, dim=1)[0]
        return int(th.distributions.Categorical(probabilities).sample()), probabilities

    def policy(self, states: th.Tensor, latents: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return probabilities and entropies."""
        log_pi = th.log_softmax(self.actor(latents, states), dim=1)
        return log_pi.exp(), -(log_pi.exp() * log_pi).sum(dim=1, keepdim=True)

    def update(self) -> None:
        """Do one update of batch 64."""
        s, a, r, s2, x, x2 = zip(*random.sample(self.buffer, 64), strict=True)
        states, following = (th.as_tensor(np.array(v), dtype=th.float32) for v in (s, s2))
        actions, rewards = th.tensor(a)[:, None], th.tensor(r, dtype=th.float32)[:, None]
        latents, next_latents = th.stack(x), th.stack(x2)
        alpha = self.log_alpha.exp().detach()
        with th.no_grad():
            pi, entropy = self.policy(following, next_latents)
            q = th.min(*(target(following) for target in self.targets))
            target = rewards + 0.95 * ((pi * q).sum(dim=1, keepdim=True) + alpha * entropy)
        for critic, optimizer in zip(self.critics, self.critic_optimizers, strict=True):
            loss = ((critic(states).gather(1, actions) - target) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pi, entropy = self.policy(states, latents)
        q = th.min(*(critic(states) for critic in self.critics))
        loss = (-alpha * entropy - (pi * q).sum(dim=1, keepdim=True)).mean()
        self.actor_optimizer.zero_grad()
        loss.backward()
        self.actor_optimizer.step()
        alpha_loss = (self.log_alpha * (entropy.detach() + 1.0)).mean()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        polyak_update(self.critics.parameters(), self.targets.parameters(), 0.005)


def slow_episode(scenario: OffloadingScenario, agents: list[PublishedAgent], table: th.Tensor, tasks: Any) -> float:
    """Play and learn one episode task by task; return its mean service delay."""
    n = scenario.n_servers
    f, r = scenario.capacity, scenario.rate
    backlog, delays, i = np.zeros(n), [], 0
    for t in range(scenario.n_slots):
        placed = np.zeros(n)
        for b, agent in enumerate(agents):
            previous: tuple[np.ndarray, int, float, th.Tensor] | None = None
            number = 0
            while tasks.slot[0, i] == t and tasks.station[0, i] == b:
                d, w = tasks.data_mbit[0, i], tasks.work[0, i]
                state = np.concatenate([[d, w], backlog])
                latent = table[t, b, number]
                if previous is not None:
                    agent.buffer.append((*previous[:3], state, previous[3], latent))
                server, probabilities = agent.act(state, latent)
                table[t, b, number] = probabilities
                delay = (backlog[server] + placed[server] + w) / f[server] + tasks.result_mbit[0, i] / r[server]
                delay += d / r[server] if server != b else 0.0
                placed[server] += w
                delays.append(delay)
                previous = (state, server, -delay, latent)
                number, i = number + 1, i + 1
            if previous is not None:
                agent.buffer.append((*previous[:3], np.zeros(2 + n), previous[3], previous[3]))
            if len(agent.buffer) > 300:
                agent.update()
        backlog = np.maximum(backlog + placed - f, 0.0)
    return float(np.mean(delays))


def main() -> None:
    """Time both in one run and print seconds per episode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=59)
    parser.add_argument("--tasks", type=int, default=50)
    options = parser.parse_args()
    th.set_num_threads(1)
    scenario = OffloadingScenario(n_slots=options.slots, n_tasks=options.tasks)
    rng = np.random.default_rng(0)

    agents = [PublishedAgent(scenario.n_servers) for _ in range(scenario.n_servers)]
    table = th.randn(scenario.n_slots, scenario.n_servers, scenario.n_tasks, scenario.n_servers)
    tasks = scenario.draw(1, rng)
    for agent in agents:  # buffers are full for all but the first episode: let updates run from the first slot on
        nothing = (
            np.zeros(2 + scenario.n_servers),
            0,
            0.0,
            np.zeros(2 + scenario.n_servers),
            table[0, 0, 0],
            table[0, 0, 0],
        )
        agent.buffer.extend([nothing] * 301)
    wall, cpu = time.perf_counter(), time.process_time()
    slow_episode(scenario, agents, table, tasks)
    slow_wall, slow_cpu = time.perf_counter() - wall, time.process_time() - cpu

    print(f"{scenario.n_slots} slots, N = {scenario.n_tasks}, one thread; seconds per episode with updates")
    samples = scenario.n_slots * scenario.n_servers * 64
    print(f"{'published loop':28s} wall {slow_wall:7.2f}  cpu {slow_cpu:7.2f}  {samples:,} samples learnt from")
    decisions = int(scenario.n_slots * scenario.n_servers * scenario.mean_tasks)
    for name in ("LAD-TS", "D2SAC-TS", "SAC-TS", "LAD-TS, published"):
        for n_envs in (20, 64):
            model = LEARNERS[name].build(scenario, 0, n_envs, n_envs=n_envs)
            model.learn(2_000, log_interval=None)
            wall, cpu = time.perf_counter(), time.process_time()
            before, updates = model.num_timesteps, model._n_updates
            model.learn(n_envs * decisions, log_interval=None, reset_num_timesteps=False)
            share = (model.num_timesteps - before) / decisions
            fast_wall, fast_cpu = (time.perf_counter() - wall) / share, (time.process_time() - cpu) / share
            print(
                f"{name + f', {n_envs} at once':28s} wall {fast_wall:7.2f}  cpu {fast_cpu:7.2f}  "
                f"{slow_wall / fast_wall:5.1f} times less wall time, {slow_cpu / fast_cpu:5.1f} cpu; "
                f"{(model._n_updates - updates) / share * model.batch_size:,.0f} samples learnt from"
            )


if __name__ == "__main__":
    main()
