"""What can go wrong on a node, by what the planner should do about it.

WorkerError                       kind "internal": tried again
├── BadRequestError               kind "bad_request": no node could do it; never tried again
├── OutOfMemoryError              kind "out_of_memory": a larger node may do it
│   └── DoesNotFitError           the weights alone are larger than the node's memory
├── SpoiltImageError              kind "spoilt_image": another node, or another dtype, may do better
├── ModelMissingError             kind "model_missing": another node may have it
│   └── AdapterMissingError       likewise for a LoRA adapter
└── UnsafeWeightsError            kind "model_missing": the weights could run code when loaded, so they are not
"""

from __future__ import annotations

from collections.abc import Sequence

from broker_config.messages import Lack

OUT_OF_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


class WorkerError(Exception):
    """Any error that a worker raises on purpose. `str()` of it is a sentence for a person."""

    kind = "internal"
    lacks: Lack | None = None  # what the node would have needed


class BadRequestError(WorkerError):
    """The request can be answered by no node: the message names the field."""

    kind = "bad_request"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class OutOfMemoryError(WorkerError):
    """The device has not enough memory for this request."""

    kind = "out_of_memory"

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model = model
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.model!r} ran out of memory ({self.reason}): ask for a smaller size or fewer images"


class DoesNotFitError(OutOfMemoryError):
    """A model's weights are larger than the memory of the node; nothing was loaded."""

    def __init__(self, model: str, needed_mib: float, memory_mib: float, remedies: Sequence[str]) -> None:
        WorkerError.__init__(self, model, needed_mib, memory_mib, list(remedies))
        self.model = model
        self.lacks = Lack(kind="memory", name=model)
        self.needed_mib = needed_mib
        self.memory_mib = memory_mib
        self.remedies = tuple(remedies)

    def __str__(self) -> str:
        wanted = f"{self.model!r} needs {self.needed_mib:,.0f} MiB and this node has {self.memory_mib:,.0f} MiB"
        if self.remedies:
            return f"{wanted}; it would fit with {' or '.join(self.remedies)}"
        return f"{wanted}; no option of the worker makes it fit, choose a smaller model"


class SpoiltImageError(WorkerError):
    """What a model has computed is no image: it holds values that are not finite."""

    kind = "spoilt_image"

    def __init__(self, model: str, dtype: str) -> None:
        super().__init__(model, dtype)
        self.model = model
        self.dtype = dtype

    def __str__(self) -> str:
        return (
            f"{self.model!r} gave values that are no colours (NaN) in {self.dtype}: its weights are broken, or too "
            "large for the dtype; try LADLE_DTYPE=bfloat16 or float32"
        )


class ModelMissingError(WorkerError):
    """Neither a folder of this name nor a model of the hub can be loaded here."""

    kind = "model_missing"

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model = model
        self.lacks = Lack(kind="model", name=model)
        self.reason = reason

    def __str__(self) -> str:
        return f"model {self.model!r} cannot be loaded: {self.reason}"


class AdapterMissingError(ModelMissingError):
    """The adapters folder holds no adapter of this name."""

    def __init__(self, adapter: str, known: Sequence[str]) -> None:
        WorkerError.__init__(self, adapter, list(known))
        self.adapter = adapter
        self.lacks = Lack(kind="adapter", name=adapter)
        self.known = tuple(known)

    def __str__(self) -> str:
        return f"adapter {self.adapter!r} is not on this node; it has: {', '.join(self.known) or 'none'}"


class UnsafeWeightsError(WorkerError):
    """A folder holds pickle weights."""

    kind = "model_missing"

    def __init__(self, folder: str, files: Sequence[str]) -> None:
        super().__init__(folder, list(files))
        self.folder = folder
        self.files = tuple(files)

    def __str__(self) -> str:
        return (
            f"{self.folder} holds pickle weights ({', '.join(self.files[:3])}), which can run code when loaded: "
            "convert them to safetensors and delete them"
        )


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch says that memory was short: the CPU's allocator raises a plain RuntimeError."""
    if isinstance(error, RuntimeError):
        return any(sign in str(error).lower() for sign in OUT_OF_MEMORY_SIGNS)
    return isinstance(error, MemoryError)
