"""Tasks: each id is run at most once, and its reply is kept for those who ask again.

The table is touched from the event loop only, and `submit` does not await, so two requests with the same id cannot
both find it absent. A task that passes its deadline is answered at once with ``agent.deadline`` and cancelled; work
in a thread cannot be stopped, and goes on, holding its locks, until it ends by itself (see `blocking.in_thread`).
Replies are kept for an hour, at most 10,000 of them; running tasks are never forgotten.
"""

from __future__ import annotations

import asyncio

import msgspec

from cairn.agents import log
from cairn.agents.clock import Clock
from cairn.agents.commands import Registry
from cairn.agents.delivery import Delivery
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.wire import Reply, Request, Result

KEEP_COUNT = 10_000
KEEP_SECONDS = 3600.0


class Task:
    """One task: what is known of it."""

    def __init__(self, request: Request) -> None:
        self.id = request.task
        self.command = request.command
        self.reply: Reply | None = None
        self.finished = asyncio.Event()
        self.finished_at = 0.0
        self.callbacks: set[str] = set()


class TaskTable:
    """All tasks of an agent's life."""

    def __init__(
        self,
        registry: Registry,
        delivery: Delivery,
        clock: Clock,
        *,
        keep_count: int = KEEP_COUNT,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._registry = registry
        self._delivery = delivery
        self._clock = clock
        self._keep_count = keep_count
        self._keep_seconds = keep_seconds
        self._running: dict[str, Task] = {}
        self._finished: dict[str, Task] = {}  # in the order in which they finished
        self._jobs: set[asyncio.Task[None] | asyncio.Task[Result]] = set()

    def submit(self, request: Request) -> Task:
        """Begin the task, or find it if its id was seen before; `request.body` then does not matter."""
        known = self.find(request.task)
        if known is not None:
            return known
        task = Task(request)
        self._running[task.id] = task
        self._own(asyncio.create_task(self._run(task, request), name=f"task {task.id}"))
        return task

    def find(self, task_id: str) -> Task | None:
        """The task with that id; None when it was never seen, or forgotten."""
        self._forget_old()
        return self._running.get(task_id) or self._finished.get(task_id)

    async def wait(self, task: Task, seconds: float) -> Reply | None:
        """The reply, or None when it is not there after `seconds` (0: as it is now)."""
        if task.reply is None:
            finished = asyncio.ensure_future(task.finished.wait())
            timer = asyncio.ensure_future(self._clock.sleep(max(seconds, 0.0)))
            try:
                await asyncio.wait({finished, timer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                finished.cancel()
                timer.cancel()
        return task.reply

    def call_back(self, task: Task, url: str) -> None:
        """Send the reply to `url` once there is one; once per task and address."""
        if url in task.callbacks:
            return
        task.callbacks.add(url)
        if task.reply is not None:
            self._delivery.reply(url, task.reply)

    async def close(self) -> None:
        """Cancel what runs."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def _own(self, job: asyncio.Task[None] | asyncio.Task[Result]) -> None:
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _run(self, task: Task, request: Request) -> None:
        log.current.set({"task": task.id, "command": task.command, **({"job": request.job} if request.job else {})})
        started = self._clock.monotonic()
        reply = await self._reply(request)
        self._finish(task, reply)
        seconds = round(self._clock.monotonic() - started, 3)
        if reply.error is None:
            log.info("task done", seconds=seconds)
        else:
            log.warning("task failed", seconds=seconds, code=reply.error.code, message=reply.error.message)

    async def _reply(self, request: Request) -> Reply:
        try:
            result = await self._within_deadline(request)
        except AgentError as error:
            return Reply(task=request.task, error=error.failure())
        except asyncio.CancelledError:
            stopped = AgentError(codes.STOPPED, f"The agent was stopped during {request.command}. Send it again.")
            return Reply(task=request.task, error=stopped.failure())
        return Reply(task=request.task, result=msgspec.Raw(msgspec.json.encode(result)))

    async def _within_deadline(self, request: Request) -> Result:
        work = asyncio.create_task(self._registry.run(request.command, request.body), name=f"work {request.task}")
        self._own(work)
        timer = asyncio.ensure_future(self._clock.sleep(request.deadline_seconds))
        try:
            await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            if not work.done():
                work.cancel()
        if work.done():
            return work.result()
        raise AgentError(
            codes.DEADLINE,
            f"{request.command} was not done after {request.deadline_seconds:g} s and was given up. Look at the load "
            "and the disks of the machine; the command can be sent again.",
        )

    def _finish(self, task: Task, reply: Reply) -> None:
        task.reply = reply
        task.finished_at = self._clock.monotonic()
        del self._running[task.id]
        self._finished[task.id] = task
        task.finished.set()
        for url in task.callbacks:
            self._delivery.reply(url, reply)

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - self._keep_seconds
        while self._finished:
            task = next(iter(self._finished.values()))
            if len(self._finished) <= self._keep_count and task.finished_at >= oldest:
                return
            del self._finished[task.id]
