"""A served policy's folder: `policy.safetensors` with the weights and `policy.json` with all that describes them.

Nothing in it is executed. What does not fit exactly (hash, names, shapes, types, columns, observation version) is
refused with `PolicyFileError`. Checkpoints of training (stable-baselines3's zip files) are never served.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as dump_tensors

from broker_config.bounds import ID
from rl_agent.errors import PolicyFileError
from rl_agent.ladts.numpy_chain import NodeDenoiserWeights
from rl_agent.placing.observation import OBSERVATION_VERSION
from rl_agent.placing.rules import RULES
from rl_agent.policy.node_policy import INPUT_COLUMNS
from rl_agent.policy.rows import COLUMN, CORRECTABLE_RULES, PRICED

CARD_FORMAT = 1  # of `policy.json`; a reader of another one refuses it
WEIGHTS_FILE = "policy.safetensors"
CARD_FILE = "policy.json"
# A card is foreign data: these bound what it can make a planner allocate and compute. Ours have 24 and 5.
MAX_HIDDEN = 1024
MAX_DENOISING_STEPS = 100  # likewise
MAX_FILE_BYTES = {WEIGHTS_FILE: 64 * 2**20, CARD_FILE: 2**20}


@dataclass(frozen=True, kw_only=True)
class PolicyCard:
    """What `policy.json` says.

    Attributes:
        version: name of the policy, as logged with every decision.
        hidden: width of the denoiser.
        n_denoising_steps: length of its chain.
        rule: the rule whose score it corrects, one of `rl_agent.policy.rows.CORRECTABLE_RULES`.
        plays: the rule, one of `rl_agent.placing.rules.RULES`, that places instead of the network; "" is none.
        columns: names of the columns of the rows it was trained on, in order.
        observation_version: of `rl_agent.placing.observation`.
        sha256: of the weights file, hexadecimal.
        training: provenance, free in form: command, seeds, results.
    """

    version: str
    hidden: int
    n_denoising_steps: int
    sha256: str
    rule: str = PRICED
    plays: str = ""
    columns: tuple[str, ...] = tuple(COLUMN)
    observation_version: int = OBSERVATION_VERSION
    format: int = CARD_FORMAT
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PolicyFiles:
    """The two files of a policy as bytes: `policy.json` and `policy.safetensors`."""

    card: bytes
    weights: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedPolicy:
    """A policy that was read and checked: what its card says, and its weights."""

    card: PolicyCard
    weights: NodeDenoiserWeights


def dump_policy(
    weights: NodeDenoiserWeights,
    *,
    version: str,
    n_denoising_steps: int,
    training: Mapping[str, Any],
    rule: str = PRICED,
    plays: str = "",
) -> tuple[PolicyCard, PolicyFiles]:
    """Return a policy's card and its files.

    Args:
        weights: of the denoiser.
        version: its name.
        n_denoising_steps: length of its chain.
        training: provenance, anything JSON can hold.
        rule: the rule whose score they correct.
        plays: the rule that places instead; "" is none.
    """
    data = dump_tensors({name: np.ascontiguousarray(value) for name, value in vars(weights).items()})
    card = PolicyCard(
        version=version,
        hidden=len(weights.row_bias),
        n_denoising_steps=n_denoising_steps,
        sha256=hashlib.sha256(data).hexdigest(),
        rule=rule,
        plays=plays,
        training=training,
    )
    return card, PolicyFiles(card=json.dumps(asdict(card), indent=2).encode() + b"\n", weights=data)


def save_policy(
    folder: Path,
    weights: NodeDenoiserWeights,
    *,
    version: str,
    n_denoising_steps: int,
    training: Mapping[str, Any],
    rule: str = PRICED,
) -> PolicyCard:
    """Write a policy folder (made if missing); each file appears whole or not at all, the card last."""
    card, files = dump_policy(
        weights, version=version, n_denoising_steps=n_denoising_steps, training=training, rule=rule
    )
    write_policy(folder, files)
    return card


def write_policy(folder: Path, files: PolicyFiles) -> None:
    """Write the files of a policy into a folder, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / WEIGHTS_FILE, files.weights)
    _write(folder / CARD_FILE, files.card)


def read_policy(folder: Path) -> PolicyFiles:
    """Read a policy folder, without checking what is in it.

    Raises:
        PolicyFileError: a file is missing, unreadable or too large.
    """
    return PolicyFiles(card=_read(folder, CARD_FILE), weights=_read(folder, WEIGHTS_FILE))


def load_policy(folder: Path) -> LoadedPolicy:
    """Read and check a policy folder.

    Raises:
        PolicyFileError: a file is missing or unreadable, or anything in it does not fit.
    """
    return parse_policy(str(folder), read_policy(folder))


def parse_policy(where: str, files: PolicyFiles) -> LoadedPolicy:
    """Check the files of a policy and return what they hold.

    Args:
        where: where they come from, for error messages.
        files: as read.

    Raises:
        PolicyFileError: anything in them does not fit.
    """
    card = _parse_card(where, files.card)
    data = files.weights
    found = hashlib.sha256(data).hexdigest()
    if found != card.sha256:
        raise PolicyFileError(where, f"{WEIGHTS_FILE} has SHA-256 {found}, {CARD_FILE} says {card.sha256}")
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise PolicyFileError(where, f"{WEIGHTS_FILE} is no safetensors file: {error}") from error
    shapes = NodeDenoiserWeights.shapes(len(INPUT_COLUMNS), card.hidden)
    if tensors.keys() != shapes.keys():
        raise PolicyFileError(where, f"tensors are {sorted(tensors)}, not {sorted(shapes)}")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            reason = f"{name} is {tensor.dtype}{tensor.shape}, not float32{shape}"
            raise PolicyFileError(where, reason)
        if not np.isfinite(tensor).all():
            raise PolicyFileError(where, f"{name} holds NaN or infinity")
    return LoadedPolicy(card=card, weights=NodeDenoiserWeights(**tensors))


def _parse_card(where: str, data: bytes) -> PolicyCard:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PolicyFileError(where, f"{CARD_FILE} is not JSON: {error}") from error
    known = {name: name in PolicyCard.__dataclass_fields__ for name in values} if isinstance(values, dict) else {}
    if not known or not all(known.values()):
        unknown = [name for name in known if not known[name]]
        raise PolicyFileError(where, f"{CARD_FILE} is no policy card: unknown {unknown!r:.200}")
    wanted: dict[str, Any] = {
        "format": CARD_FORMAT,
        "observation_version": OBSERVATION_VERSION,
        "columns": list(COLUMN),
    }
    for name, value in wanted.items():
        if values.get(name) != value:
            raise PolicyFileError(where, f"{name} is {values.get(name)!r:.200}, this version of Ladle reads {value!r}")
    for name, limit in {"hidden": MAX_HIDDEN, "n_denoising_steps": MAX_DENOISING_STEPS}.items():
        value = values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            raise PolicyFileError(where, f"{name} is {value!r:.200}, not an integer from 1 to {limit}")
    if values.get("rule", PRICED) not in CORRECTABLE_RULES:
        raise PolicyFileError(where, f"rule is {values['rule']!r}, none of {', '.join(CORRECTABLE_RULES)}")
    if values.get("plays", "") not in ("", *RULES):
        raise PolicyFileError(where, f"plays is {values['plays']!r:.200}, none of {', '.join(RULES)}")
    if not all(isinstance(values.get(name), str) for name in ("version", "sha256")):
        raise PolicyFileError(where, f"{CARD_FILE} names no version or no sha256")
    if not ID.fullmatch(values["version"]):
        raise PolicyFileError(where, f"version {values['version']!r:.200} is no name: letters, digits, _ . : -")
    return PolicyCard(**{**values, "columns": tuple(values["columns"])})


def _read(folder: Path, name: str) -> bytes:
    try:
        if not stat.S_ISREG((folder / name).stat().st_mode):  # a device or a pipe would be read for ever
            raise PolicyFileError(str(folder), f"{name} is no regular file")
        with (folder / name).open("rb") as file:
            data = file.read(MAX_FILE_BYTES[name] + 1)
    except OSError as error:
        raise PolicyFileError(str(folder), f"{name}: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES[name]:
        raise PolicyFileError(str(folder), f"{name} is larger than {MAX_FILE_BYTES[name]} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)
