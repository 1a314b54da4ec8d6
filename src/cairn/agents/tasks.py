"""Tasks: each id is run at most once, and its reply is kept for callers that ask again.

The table is touched from the event loop only, and `submit` does not await, so two requests with the same id cannot
both find it absent. A task that passes its deadline is answered at once with ``agent.deadline`` and cancelled; work
in a thread cannot be stopped, and goes on, holding its locks, until it ends by itself (see `blocking.in_thread`).
A task that its caller takes back is cancelled and over only when its work has ended, clean-up included. If it was never
seen it is written down as cancelled, so that a request that was overtaken on its way begins nothing.
A command of a node that has lost the work to another one is refused before it begins (`Epochs`).
Replies are kept for an hour, at most 10,000 of them; running tasks are never forgotten.
"""

from __future__ import annotations

import asyncio

import msgspec

from cairn.agents import log
from cairn.agents.clock import Clock
from cairn.agents.commands import Registry
from cairn.agents.delivery import Delivery
from cairn.agents.epochs import Epochs
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.wire import Reply, Request, Result

KEEP_COUNT = 10_000
KEEP_SECONDS = 3600.0


class Task:
    """One task, with its reply once there is one."""

    def __init__(self, id_: str, command: str) -> None:
        self.id = id_
        self.command = command
        self.reply: Reply | None = None
        self.finished = asyncio.Event()  #: there is a reply
        self.over = asyncio.Event()  #: and nothing of it still goes on
        self.finished_at = 0.0
        self.callbacks: set[str] = set()
        self.taken_back = False
        self.work: asyncio.Task[Result] | None = None

    def stop(self) -> None:
        """Cancel the work, once: a second time would cancel its clean-up."""
        if self.work is not None and not self.work.done() and not self.work.cancelling():
            self.work.cancel()


class TaskTable:
    """All tasks of an agent's life."""

    def __init__(
        self,
        registry: Registry,
        delivery: Delivery,
        clock: Clock,
        epochs: Epochs,
        *,
        keep_count: int = KEEP_COUNT,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._registry = registry
        self._delivery = delivery
        self._clock = clock
        self._epochs = epochs
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
        task = Task(request.task, request.command)
        self._running[task.id] = task
        self._own(asyncio.create_task(self._run(task, request), name=f"task {task.id}"))
        return task

    def find(self, task_id: str) -> Task | None:
        """The task with that id; None when it was never seen, or forgotten."""
        self._forget_old()
        return self._running.get(task_id) or self._finished.get(task_id)

    async def wait(self, task: Task, seconds: float) -> Reply | None:
        """The reply, or None when it is not there after `seconds` (0: as it is now)."""
        await self._wait(task.finished, seconds)
        return task.reply

    async def cancel(self, task_id: str, seconds: float) -> Task | None:
        """Take the task back: stop it, and wait at most `seconds` until it is over. Safe to repeat.

        Returns:
            The task, with its reply once it is `over`; None if it was never seen, and so can only be refused now.
        """
        task = self.find(task_id)
        if task is None:
            self._refuse(task_id)
            return None
        task.taken_back = True
        task.stop()
        await self._wait(task.over, seconds)
        return task

    def call_back(self, task: Task, url: str) -> None:
        """Send the reply to `url` once there is one; once per task and address."""
        if url in task.callbacks:
            return
        task.callbacks.add(url)
        if task.reply is not None:
            self._delivery.reply(url, task.reply)

    async def close(self) -> None:
        """Cancel the tasks that run and wait until they have cleaned up."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def _own(self, job: asyncio.Task[None] | asyncio.Task[Result]) -> None:
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        if event.is_set():
            return
        reached = asyncio.ensure_future(event.wait())
        timer = asyncio.ensure_future(self._clock.sleep(max(seconds, 0.0)))
        try:
            await asyncio.wait({reached, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reached.cancel()
            timer.cancel()

    def _refuse(self, task_id: str) -> None:
        """Write down that the task is not to be run."""
        task = self._running[task_id] = Task(task_id, "")
        task.taken_back = True
        self._finish(task, Reply(task=task_id, error=_cancelled("it").failure()))

    async def _run(self, task: Task, request: Request) -> None:
        log.current.set(_named(task, request))
        started = self._clock.monotonic()
        reply = await self._reply(task, request)
        self._finish(task, reply)
        seconds = round(self._clock.monotonic() - started, 3)
        if reply.error is None:
            log.info("task.done", seconds=seconds)
        else:
            log.warning("task.failed", seconds=seconds, code=reply.error.code, message=reply.error.message)

    async def _reply(self, task: Task, request: Request) -> Reply:
        try:
            result = await self._within_deadline(task, request)
        except AgentError as error:
            return Reply(task=request.task, error=error.failure())
        except asyncio.CancelledError:
            why = _cancelled(request.command) if task.taken_back else _stopped(request.command)
            return Reply(task=request.task, error=why.failure())
        return Reply(task=request.task, result=msgspec.Raw(msgspec.json.encode(result)))

    async def _within_deadline(self, task: Task, request: Request) -> Result:
        if request.fences:
            await self._epochs.admit(request.fences)
        if task.taken_back:
            raise _cancelled(request.command)
        work = asyncio.create_task(self._registry.run(request.command, request.body), name=f"work {request.task}")
        task.work = work
        self._own(work)
        work.add_done_callback(lambda _: _ended(task))
        timer = asyncio.ensure_future(self._clock.sleep(request.deadline_seconds))
        try:
            await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            task.stop()
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
        if task.work is None:
            task.over.set()
        for url in task.callbacks:
            self._delivery.reply(url, reply)

    def _forget_old(self) -> None:
        oldest = self._clock.monotonic() - self._keep_seconds
        while self._finished:
            task = next(iter(self._finished.values()))
            if len(self._finished) <= self._keep_count and task.finished_at >= oldest:
                return
            del self._finished[task.id]


def _named(task: Task, request: Request) -> dict[str, str]:
    """What lines of the log say of a task."""
    named = {"task": task.id, "command": task.command}
    if request.job:
        named["job"] = request.job
    if request.fences:
        turn = request.fences[-1]
        named |= {"resource": turn.resource, "epoch": str(turn.epoch), "node": turn.node}
    return named


def _ended(task: Task) -> None:
    task.work = None
    if task.reply is not None:
        task.over.set()


def _stopped(command: str) -> AgentError:
    return AgentError(codes.STOPPED, f"The agent was stopped during {command}. Send it again.")


def _cancelled(command: str) -> AgentError:
    return AgentError(codes.CANCELLED, f"The caller took {command} back. Send it as another task to have it done.")
