"""Puts a node together as the settings say: engine, warm-up, publishers, ledger, store."""

from __future__ import annotations

import logging

from celery import Celery
from prometheus_client import CollectorRegistry

from broker_config.errors import ConfigurationError
from broker_config.extras import check_engine
from broker_config.publisher import Publisher
from broker_config.settings import Settings
from workers.done_ledger import DoneLedger
from workers.emulated import EmulatedEngine, EmulatedSpeed, SlowedEngine, parse_drift
from workers.image_store import ImageStore
from workers.images import ImageEngine
from workers.metrics import WorkerCounts, WorkerPicture
from workers.model_options import PipelineOptions
from workers.node import NodeWorker
from workers.warm_up import warm_up

logger = logging.getLogger(__name__)


def make_engine(settings: Settings) -> tuple[ImageEngine, str]:
    """Return the engine the settings name, and what about it is emulated.

    Raises:
        ConfigurationError: torch cannot use the device.
        NotInstalledError: the engine needs a package that is missing.
    """
    check_engine(settings, "a node that draws")
    engine: ImageEngine
    if settings.engine == "emulated":
        speed = EmulatedSpeed(
            s_per_unit=settings.emulated_s_per_unit,
            load_s=settings.emulated_load_s,
            drift=parse_drift(settings.emulated_drift),
            time_scale=settings.time_scale,
            resident_models=settings.resident_models,
        )
        return EmulatedEngine(
            speed, settings.adapters_folder or None
        ), f"emulated engine, {speed.s_per_unit:g} s per megapixel step"
    from workers.pipelines import DiffusersEngine

    _check_device(settings.device)
    engine = DiffusersEngine(
        PipelineOptions(
            device=settings.device,
            dtype=settings.dtype,
            drop_t5=settings.drop_t5,
            adapters_folder=settings.adapters_folder or None,
            resident_models=settings.resident_models,
            layerwise_fp8=settings.layerwise_fp8,
            group_offload=settings.group_offload,
            int8_weights=settings.int8_weights,
            vae_tiling=settings.vae_tiling,
            memory_limit_mib=settings.memory_limit_mib or None,
        )
    )
    if settings.emulated_slowdown > 1:
        return SlowedEngine(engine, settings.emulated_slowdown), f"emulated slowdown x{settings.emulated_slowdown:g}"
    return engine, ""


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as exc:  # torch asserts that it was built for CUDA
        raise ConfigurationError(f"device {device!r}: {str(exc).splitlines()[0]}") from exc


def make_node(name: str, settings: Settings, app: Celery, registry: CollectorRegistry) -> NodeWorker:
    """Load the models, measure them, and return the node, which sends through the broker of `app`.

    Its metrics are put into `registry`.

    Its metrics are put into `registry`.

    Raises:
        ConfigurationError: torch cannot use the device of the settings.
        NotInstalledError: the engine of the settings needs a package that is missing.
    """
    engine, emulated = make_engine(settings)
    speeds, problems = warm_up(engine, settings.node_models)
    for problem in problems:
        logger.error("node %s: %s", name, problem)
    node = NodeWorker(
        name=name,
        settings=settings,
        engine=engine,
        publisher=Publisher(app, confirm_timeout_s=settings.confirm_timeout_s),
        reporter_publisher=Publisher(app, confirm_timeout_s=settings.confirm_timeout_s),
        done=DoneLedger(settings.data_dir / f"done-{name}.db"),
        store=ImageStore(settings.store, inline_mib=settings.message_limit_mib),
        speeds=speeds,
        problems=problems,
        counts=WorkerCounts(registry),
        emulated=emulated,
    )
    registry.register(WorkerPicture(node.report))
    return node
