"""The rival of `gateway.py`: FastAPI in front of plain Celery on one shared queue, nothing of Ladle's.

As one would write it with care: a thread submits each request, and one query for all requests that wait looks for
results in the database, `LOOK_S` apart. Results are as durable as Ladle's ledger. Run by uvicorn, with the variables
of `plain_celery.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from plain_celery import make_app
from pydantic import BaseModel
from sqlalchemy import Engine, bindparam, create_engine, text
from starlette.concurrency import run_in_threadpool

LOOK_S = 0.005  # the delay that it adds is half of that: less than a job takes
FINISHED = text("SELECT task_id FROM celery_taskmeta WHERE status = 'SUCCESS' AND task_id IN :waiting").bindparams(
    bindparam("waiting", expanding=True)
)


class Fields(BaseModel):
    """What Ladle's gateway takes, too."""

    prompt: str
    size: str
    num_inference_steps: int
    seed: int


class Results:
    """Looks for the results of all requests that wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def of(self, task: str) -> None:
        """Wait until a task is done."""
        self._waiting[task] = asyncio.get_running_loop().create_future()
        await self._waiting[task]

    async def look(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._waiting:
                for task in await run_in_threadpool(self._finished, list(self._waiting)):
                    self._waiting.pop(task).set_result(None)

    def _finished(self, waiting: list[str]) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(FINISHED, {"waiting": waiting}))


def gateway() -> FastAPI:
    """Return the app."""
    celery = make_app(os.environ["PLAIN_BROKER"], os.environ["PLAIN_RESULTS"])
    results = Results(create_engine(os.environ["PLAIN_RESULTS"].removeprefix("db+")))
    draw = celery.tasks["plain.draw"]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(results.look())
        yield
        looking.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/images/generations")
    async def generations(fields: Fields) -> dict[str, Any]:
        sent = await run_in_threadpool(draw.apply_async, kwargs=fields.model_dump())
        await results.of(sent.id)
        return {"data": [{"b64_json": await run_in_threadpool(sent.get)}]}

    return app
