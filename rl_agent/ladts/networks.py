"""Networks of the actor and the critics, in two forms.

The shared form runs one small network on the row of every node. Nodes see each other only through pooled averages, so
it is permutation-equivariant and serves any number of nodes. The flat form reads all rows as one vector, as the paper
does, and serves only the number of nodes it was built for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch as th
from torch import nn

from rl_agent.ladts.diffusion import Denoiser
from rl_agent.ladts.numpy_chain import TIME_EMBEDDING_SIZE, NodeDenoiserWeights, time_embedding

Network = Literal["shared", "flat"]

PARAMETERS = {
    "row_weight": "network.row.weight",
    "row_bias": "network.row.bias",
    "latent": "latent",
    "time_weight": "time.weight",
    "mixed_weight": "network.mixed.weight",
    "mixed_bias": "network.mixed.bias",
    "pooled_weight": "network.pooled.weight",
    "output_weight": "network.output.weight",
    "output_bias": "network.output.bias",
}
"""The parameters of a ``NodeDenoiser`` by their names in ``NodeDenoiserWeights``."""


class NodeNetwork(nn.Module):
    """Maps (batch, nodes, features) to (batch, nodes), equivariant under permutations of the nodes.

    Each row passes the first layer. Their mean over the eligible rows passes a layer of its own and is added to every
    row before the second layer.

    Args:
        n_features: columns of a row.
        hidden: width of both layers.
        zero_output: start with an output of exactly zero.
    """

    def __init__(self, n_features: int, hidden: int = 32, *, zero_output: bool = False) -> None:
        super().__init__()
        self.row = nn.Linear(n_features, hidden)
        self.mixed = nn.Linear(hidden, hidden)
        self.pooled = nn.Linear(hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, 1)
        if zero_output:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, rows: th.Tensor, eligible: th.Tensor | None = None) -> th.Tensor:
        """Return one value per node, shape (batch, nodes)."""
        weight = th.ones_like(rows[..., 0]) if eligible is None else eligible.to(rows.dtype)
        return self.mix(self.row(rows), pooling_share(weight))

    def mix(self, hidden: th.Tensor, share: th.Tensor) -> th.Tensor:
        """Finish the pass from the first layer's output; ``share`` is that of every row in the mean."""
        hidden = th.relu(hidden)
        mean = th.bmm(share.unsqueeze(1), hidden)
        hidden = th.relu(self.mixed(hidden) + self.pooled(mean))
        values: th.Tensor = self.output(hidden).squeeze(-1)
        return values


def pooling_share(weight: th.Tensor) -> th.Tensor:
    """Return weights (batch, nodes) scaled to sum to one in every row, or to zero if there is none."""
    return weight / weight.sum(dim=1, keepdim=True).clamp_min(1.0)


class FlatNetwork(nn.Module):
    """A plain multi-layer perceptron on one vector.

    Args:
        n_inputs: size of the vector.
        n_outputs: number of nodes.
        net_arch: widths of the hidden layers.
    """

    def __init__(self, n_inputs: int, n_outputs: int, net_arch: Sequence[int] = (20, 20)) -> None:
        super().__init__()
        sizes = [n_inputs, *net_arch]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], n_outputs))

    def forward(self, vector: th.Tensor) -> th.Tensor:
        """Return one value per node, shape (batch, nodes)."""
        values: th.Tensor = self.layers(vector)
        return values


class NodeDenoiser(Denoiser):
    """The shared denoiser: every node's row is joined by its own x_i and the embedding of i.

    The observation has shape (batch, nodes, n_features + 1); its LAST column is the eligibility (1 or 0).

    Args:
        n_features: columns of a row without the eligibility.
        n_denoising_steps: length of the chain.
        hidden: width of the layers.
        zero_output: start with an output of exactly zero.
    """

    embedding: th.Tensor

    def __init__(self, n_features: int, n_denoising_steps: int, hidden: int = 32, *, zero_output: bool = True) -> None:
        super().__init__()
        self.register_buffer("embedding", th.from_numpy(time_embedding(n_denoising_steps)), persistent=False)
        self.network = NodeNetwork(n_features, hidden, zero_output=zero_output)
        self.time = nn.Linear(TIME_EMBEDDING_SIZE, hidden, bias=False)
        self.latent = nn.Parameter(th.randn(hidden) / hidden**0.5)

    def encode(self, observation: th.Tensor) -> tuple[th.Tensor, ...]:
        """Return the observation and the denoising steps after the first layer, and the weights of the mean."""
        rows, weight = observation[..., :-1].contiguous(), observation[..., -1].contiguous()
        return self.network.row(rows), pooling_share(weight), self.time(self.embedding)

    def forward(self, x: th.Tensor, i: int, condition: tuple[th.Tensor, ...]) -> th.Tensor:
        """Return the network's output for denoising step ``i``, shape (batch, nodes)."""
        first, share, time = condition
        return self.network.mix(th.addcmul(first + time[i - 1], x.unsqueeze(-1), self.latent), share)

    def weights(self) -> NodeDenoiserWeights:
        """Return the parameters for numpy; on the CPU they share memory, so that they follow the training."""
        parameters = dict(self.named_parameters())
        return NodeDenoiserWeights(**{key: parameters[name].detach().cpu().numpy() for key, name in PARAMETERS.items()})


class FlatDenoiser(Denoiser):
    """The paper's denoiser: concat(x, embedding of i, observation vector) -> hidden layers -> nodes.

    Source: arXiv 2412.18212, table of parameters (two hidden layers of 20, ReLU).
    """

    embedding: th.Tensor

    def __init__(self, n_inputs: int, n_nodes: int, n_denoising_steps: int, net_arch: Sequence[int] = (20, 20)) -> None:
        super().__init__()
        self.register_buffer("embedding", th.from_numpy(time_embedding(n_denoising_steps)), persistent=False)
        self.network = FlatNetwork(n_inputs + n_nodes + TIME_EMBEDDING_SIZE, n_nodes, net_arch)

    def forward(self, x: th.Tensor, i: int, condition: tuple[th.Tensor, ...]) -> th.Tensor:
        """Return the network's output for denoising step ``i``, shape (batch, nodes)."""
        time = self.embedding[i - 1].expand(len(x), -1)
        output: th.Tensor = self.network(th.cat([x, time, *condition], dim=-1))
        return output
