"""Models that clients unload and load again, where the settings let them.

An unloaded model is in no worker's memory and nothing is deployed for it: what the registry
promotes meanwhile waits, and is carried out when the model is loaded again.
"""

from __future__ import annotations

import asyncio
from typing import Final, assert_never

import asyncpg

from headrace.runtime.telemetry import Log
from services.serving import store
from services.serving.control.reconciler import Reconciler
from services.serving.control.rollout import Rollout
from services.serving.link.messages import ModelAnswer, ModelRequest

_DONE: Final = ModelAnswer()
_INTERNAL: Final = 13
_UNAVAILABLE: Final = 14
_PATIENCE_SECONDS: Final = 20.0


class ExplicitModels:
    """Carries out what clients ask, one request at a time."""

    def __init__(
        self,
        *,
        project: str,
        allowed: bool,
        pool: asyncpg.Pool,
        rollout: Rollout,
        reconciler: Reconciler,
        log: Log,
    ) -> None:
        self._project = project
        self._allowed = allowed
        self._pool = pool
        self._rollout = rollout
        self._reconciler = reconciler
        self._log = log
        self._turn = asyncio.Lock()

    async def restore(self) -> None:
        """Keep out what was unloaded before; before the workers are told anything."""
        if self._allowed:
            async with self._pool.acquire() as connection:
                self._rollout.unloaded |= await store.unloaded(connection, project=self._project)

    async def carry_out(self, request: ModelRequest) -> ModelAnswer:
        """Once all workers look so; an answer with a code says why they do not."""
        if not self._allowed:
            return _unavailable("explicit model load / unload is not allowed if polling is enabled")
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._turn:
                return await self._do(request)
        except TimeoutError:
            return _unavailable(f"{request.action} of '{request.model}' is not done yet")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._log.warning("model_request_failed", model=request.model, reason=repr(error))
            return _unavailable(f"{request.action} of '{request.model}': the store is away")

    async def _do(self, request: ModelRequest) -> ModelAnswer:
        self._log.info("model_request", action=request.action, model=request.model)
        match request.action:
            case "load":
                return await self._load(request.model)
            case "unload":
                return await self._unload(request.model)
            case _:
                assert_never(request.action)

    async def _load(self, model: str) -> ModelAnswer:
        if not self._rollout.knows(model):
            return ModelAnswer(
                code=_INTERNAL,
                message=f"failed to load '{model}', failed to poll from model repository",
            )
        async with self._pool.acquire() as connection:
            await store.forget_unloaded(connection, project=self._project, model=model)
        self._rollout.unloaded.discard(model)
        reason = await self._rollout.apply_everywhere(model)
        self._reconciler.poke()
        if reason is not None:
            return ModelAnswer(code=_INTERNAL, message=f"load failed for model '{model}': {reason}")
        return _DONE

    async def _unload(self, model: str) -> ModelAnswer:
        if not self._rollout.knows(model) or model in self._rollout.unloaded:
            return _DONE
        self._rollout.unloaded.add(model)
        try:
            await self._reconciler.at_rest(model)
            async with self._pool.acquire() as connection:
                await store.note_unloaded(connection, project=self._project, model=model)
        except BaseException:
            self._rollout.unloaded.discard(model)
            self._reconciler.poke()
            raise
        await self._rollout.apply_everywhere(model)
        return _DONE


def _unavailable(message: str) -> ModelAnswer:
    return ModelAnswer(code=_UNAVAILABLE, message=message)
