"""Trains the shipped model from scratch, in about 40 CPU minutes: autoencoder, latents, flow matching, export.

    python -m workers.tiny_training.train workers/tiny_sd3

A run that was stopped resumes from its last checkpoint in `--work`. `--quick` runs the same stages in about half a
minute and gives a model that loads but has learned little: it is what the tests run.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from workers.tiny_training import architecture, tokenizer
from workers.tiny_training.export import export
from workers.tiny_training.flow import FlowTraining, Latents, TextToLatent
from workers.tiny_training.latent_cache import encode, tokenize
from workers.tiny_training.vae import VaeTraining, psnr

CHECKPOINT_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long each stage is: optimiser steps, and pictures to draw."""

    vae_steps: int = 4000
    small_pictures: int = 60_000
    large_pictures: int = 6_000
    flow_steps: int = 5500


QUICK = Budget(vae_steps=20, small_pictures=256, large_pictures=64, flow_steps=20)


class Run:
    """One training, its checkpoints in `work`.

    Args:
        work: folder for checkpoints; made if missing.
        budget: length of the stages.
        seed: the only source of chance.
    """

    def __init__(self, work: Path, budget: Budget, seed: int) -> None:
        self.work, self.budget, self.seed = work, budget, seed
        work.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        self.vae = architecture.autoencoder()
        self.model = TextToLatent(architecture.transformer(), architecture.text_encoder(), architecture.text_encoder())
        self.tokenizer = tokenizer.build()
        self.report: dict[str, Any] = {"seed": seed, **vars(budget)}

    def train(self, folder: Path) -> None:
        """Run all stages and write the pipeline into `folder`."""
        started = time.process_time()
        self._train_vae()
        small, large = self._cache("small", architecture.IMAGE_PX), self._cache("large", architecture.LARGE_PX)
        mean, deviation = float(small.latents.float().mean()), float(small.latents.float().std())
        self.vae.register_to_config(scaling_factor=1 / deviation, shift_factor=mean)
        for part in (small, large):
            part.latents.sub_(mean).div_(deviation)
        self._train_flow(small, large)
        self.report["cpu_minutes"] = round((time.process_time() - started) / 60, 1)
        export(self.model, self.vae, self.tokenizer, folder)
        print(json.dumps(self.report))  # noqa: T201 - the script's result

    def _train_vae(self) -> None:
        training = VaeTraining(self.vae, self.budget.vae_steps, self.seed)
        parts = {"model": self.vae, "optimizer": training.optimizer}
        training.step = self._resume("vae.pt", parts)
        bar = tqdm(total=training.steps, initial=training.step, desc="autoencoder", unit="step")
        while training.step < training.steps:
            bar.set_postfix(loss=f"{training.advance():.3f}", refresh=False)
            bar.update()
            self._checkpoint("vae.pt", training.step, training.steps, parts)
        bar.close()
        self.vae.requires_grad_(requires_grad=False)
        self.report["psnr_db"] = round(psnr(self.vae), 2)

    def _cache(self, name: str, size_px: int) -> Latents:
        file = self.work / f"{name}.safetensors"
        if not file.exists():
            number = self.budget.small_pictures if name == "small" else self.budget.large_pictures
            made = encode(self.vae, self.tokenizer, number, size_px, self.seed)
            save_file({key: value.contiguous() for key, value in vars(made).items()}, file)
        return Latents(**load_file(file))

    def _train_flow(self, small: Latents, large: Latents) -> None:
        empty = tokenize(self.tokenizer, [""])[0]
        training = FlowTraining(self.model, small, large, empty, self.budget.flow_steps, self.seed)
        parts = {
            "model": self.model,
            "labeller": training.labeller,
            "optimizer": training.optimizer,
            "average": training.average,
        }
        training.step = self._resume("flow.pt", parts)
        bar = tqdm(total=training.steps, initial=training.step, desc="flow matching", unit="step")
        shown: dict[str, float] = {}
        while training.step < training.steps:
            for name, loss in zip(("flow", "label"), training.advance(), strict=True):
                shown[name] = 0.98 * shown.get(name, loss) + 0.02 * loss
            bar.set_postfix({name: f"{loss:.4f}" for name, loss in shown.items()}, refresh=False)
            bar.update()
            self._checkpoint("flow.pt", training.step, training.steps, parts)
        bar.close()
        self.report |= {f"{name}_loss": round(loss, 4) for name, loss in shown.items()}
        training.use_average()

    _saved_at = 0.0

    def _checkpoint(self, name: str, step: int, steps: int, parts: dict[str, Any]) -> None:
        """Save a stage once a minute and at its end; a half-written file never replaces the old one."""
        if step < steps and time.monotonic() - self._saved_at < CHECKPOINT_EVERY_S:
            return
        state = {key: part if isinstance(part, list) else part.state_dict() for key, part in parts.items()}
        torch.save({"step": step, **state}, self.work / f"{name}.part")
        (self.work / f"{name}.part").replace(self.work / name)
        self._saved_at = time.monotonic()

    def _resume(self, name: str, parts: dict[str, Any]) -> int:
        """Load a stage's checkpoint into its parts, if there is one; return the step to resume from."""
        if not (self.work / name).exists():
            return 0
        state = torch.load(self.work / name, weights_only=True)
        for key, part in parts.items():
            if isinstance(part, list):
                for mine, saved in zip(part, state[key], strict=True):
                    mine.copy_(saved)
            else:
                part.load_state_dict(state[key])
        return int(state["step"])


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pipeline goes")
    parser.add_argument("--work", type=Path, default=Path("tiny_training_work"), help="where the checkpoints go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="a second one makes it a third faster, not twice")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, in about half a minute")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    Run(options.work, QUICK if options.quick else Budget(), options.seed).train(options.folder)


if __name__ == "__main__":
    main()
