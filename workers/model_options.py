"""How a node loads its models: what `ladle worker`'s options say, for everything that loads or counts weights."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("auto", "float32", "float16", "bfloat16")
MEMORY_OPTIONS = ("drop_t5", "layerwise_fp8", "group_offload", "int8_weights", "vae_tiling")


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """How a node loads its models.

    Attributes:
        device: where torch computes: "cpu", "cuda", "cuda:1", "mps".
        dtype: "float32", "float16", "bfloat16", or "auto": float32 on a CPU and float16 elsewhere.
        drop_t5: leave the T5 encoder out of Stable Diffusion 3: 62 % less memory.
        adapters_folder: where LoRA adapters are; None means the node has none.
        resident_models: how many models stay in memory; the least recently used is evicted first.
        layerwise_fp8: keep weights as 8-bit floats, and compute in `dtype`.
        group_offload: keep weights off the device (on a CPU: on disk), except the layers at work.
        int8_weights: keep the weights of linear layers as 8-bit integers; needs torchao.
        vae_tiling: decode large images tile by tile.
        memory_limit_mib: what a model may take; None means what the device has.
    """

    device: str = "cpu"
    dtype: str = "auto"
    drop_t5: bool = True
    adapters_folder: str | None = None
    resident_models: int = 1
    layerwise_fp8: bool = False
    group_offload: bool = False
    int8_weights: bool = False
    vae_tiling: bool = False
    memory_limit_mib: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype: {self.dtype!r} is none of {', '.join(DTYPES)}")

    @property
    def dtype_name(self) -> str:
        """Return the dtype that is meant: "auto" is float32 on a CPU and float16 elsewhere."""
        if self.dtype == "auto":
            return "float32" if self.device == "cpu" else "float16"
        return self.dtype

    @property
    def chosen(self) -> tuple[str, ...]:
        """Return the names of the options that save memory and are on."""
        return tuple(name for name in MEMORY_OPTIONS if getattr(self, name))
