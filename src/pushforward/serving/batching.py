"""Work off the event loop: rows of concurrent requests are scored together, and long jobs one after another."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from .guard import Shares, client_of, leave_in_a_second
from .refusals import Refused

T = TypeVar("T")
MOST = 64  # rows of a batch, and of a request that may join one
WAITING = 4096  # rows that may wait, half of them of one client
JOBS = 16  # long jobs that may wait, likewise
PAUSE = 0.002  # seconds without a new request after which a batch starts
GATHER = 0.008  # longest wait of a batch in seconds


@dataclass
class _Ask:
    key: Hashable
    rows: Sequence[Any]
    answer: asyncio.Future[Any]


class Batcher:
    """Answers small requests together: while one batch is computed, the next one gathers.

    A batch costs much more than one more row in it. So if several clients ask at once, it waits for those on their way,
    a few milliseconds at most; a single client is not kept waiting. Requests with the same key are answered by
    one call of ``work``.

    Args:
        work: Maps ``(key, rows)`` to one answer for each row, in order.
        seen: Called with the number of rows of each batch.
    """

    def __init__(self, work: Callable[[Any, Sequence[Any]], Sequence[Any]], seen: Callable[[int], Any]) -> None:
        self.work, self.seen = work, seen
        self.shares = Shares(WAITING // 2, "rows", WAITING)
        self.waiting: list[_Ask] = []
        self.crowd = 0  # how many requests waited last
        self.thread = ThreadPoolExecutor(1, "scores")
        self.batches: asyncio.Task[None] | None = None

    async def ask(self, client: str, key: Hashable, rows: Sequence[Any]) -> Sequence[Any]:
        """One answer for each row of a client's."""
        one = _Ask(key, rows, asyncio.get_running_loop().create_future())
        try:
            with self.shares.hold(client, len(rows)):
                self.waiting.append(one)
                if self.batches is None or self.batches.done():
                    self.batches = asyncio.create_task(self._run())
                return await one.answer
        finally:
            del one  # an error refers to this frame, and would keep itself

    async def _run(self) -> None:
        """Answers the waiting requests, batch by batch."""
        while self.waiting:
            await self._settle()
            batch = self._next()
            if not batch:
                continue
            self.seen(sum(len(one.rows) for one in batch))
            answers = await asyncio.get_running_loop().run_in_executor(self.thread, self._answers, batch)
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():
                    (one.answer.set_exception if isinstance(answer, Exception) else one.answer.set_result)(answer)

    async def _settle(self) -> None:
        """If the last batch held several requests, waits until as many are there, or no more of them arrive."""
        stop = time.monotonic() + GATHER
        before = -1
        while before < len(self.waiting) < self.crowd and time.monotonic() < stop:
            before = len(self.waiting)
            await asyncio.sleep(PAUSE)

    def _next(self) -> list[_Ask]:
        """The oldest request and those with its key that fit in a batch with it; those that timed out are left out."""
        batch: list[_Ask] = []
        left: list[_Ask] = []
        rows = 0
        for one in self.waiting:
            if one.answer.done():
                continue
            fits = not batch or (one.key == batch[0].key and rows + len(one.rows) <= MOST)
            (batch if fits else left).append(one)
            rows += len(one.rows) if fits else 0
        self.waiting, self.crowd = left, len(batch) + len(left)
        return batch

    def _answers(self, batch: Sequence[_Ask]) -> list[Any]:
        """The answer to each request, or the exception that it raised; others in the batch are answered anyway."""
        try:
            found = self.work(batch[0].key, [row for one in batch for row in one.rows])
        except Exception as error:
            return [error] if len(batch) == 1 else [self._answers([one])[0] for one in batch]
        answers = iter(found)
        return [list(itertools.islice(answers, len(one.rows))) for one in batch]


class Abandoned(BaseException):
    """Raised in a job whose client has hung up, wherever it is."""


class Jobs:
    """Long jobs, one after another on a separate thread, so that single rows need not wait for them."""

    def __init__(self) -> None:
        self.thread, self.shares = ThreadPoolExecutor(1, "jobs"), Shares(JOBS // 2, "long requests", JOBS)
        self.lock = threading.Lock()
        self.at: tuple[list[Any], int] = [], 0  # what the job that is running took, and its thread

    async def run(self, request: Request, job: Callable[..., T], *arguments: Any) -> T:
        """Runs a job and returns its result; a job whose client hangs up is left out, or stopped, and keeps its place
        among its client's for a second.

        The body of the request has to be read before.
        """
        taken = list(arguments)  # and the mark of the job
        with contextlib.ExitStack() as place:
            place.enter_context(self.shares.hold(client_of(request)))
            result = asyncio.wrap_future(self.thread.submit(self._do, taken, job))
            gone: asyncio.Future[None] = asyncio.ensure_future(_hung_up(request))
            try:
                await asyncio.wait((result, gone), return_when=asyncio.FIRST_COMPLETED)
                if not result.done():
                    leave_in_a_second(place)
                    raise Refused(499, "the client hung up")
                return result.result()
            finally:
                gone.cancel()
                result.cancel()
                self._stop(taken)
                taken.clear()  # a job that is left out stays in the queue until its turn
                del result  # an error refers to this frame, and would keep itself and all that was sent

    def _do(self, taken: list[Any], job: Callable[..., T]) -> T:
        try:
            with self.lock:
                self.at = taken, threading.get_ident()
            return job(*taken)
        finally:
            with self.lock:
                self.at = [], 0
            threading.get_ident()  # what was raised before arrives with a call

    def _stop(self, taken: list[Any]) -> None:
        """Ends a job if it is running. Python has no other way to end a thread, and the job no handle; like an
        interrupt from the keyboard, this arrives between two steps of Python."""
        with self.lock:
            running, thread = self.at
            if running is taken:
                raised = ctypes.py_object(Abandoned)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
