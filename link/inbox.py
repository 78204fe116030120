"""A queue between a socket and its consumer that stops the socket instead of growing."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items in order for one consumer. At `limit` it calls `pause`, at half of it `resume`; it never drops.

    Iterating may be given up at any time (a time-out) and taken up again; nothing is lost by it.
    """

    def __init__(self, limit: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._pause = pause
        self._resume = resume
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None

    @property
    def paused(self) -> bool:
        return self._paused

    def put(self, item: T) -> None:
        self._items.append(item)
        if not self._paused and len(self._items) >= self._limit:
            self._paused = True
            self._pause()
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Let the consumer raise `error` after the items that are here."""
        self._failure = error
        self._wake()

    def __aiter__(self) -> "Inbox[T]":
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._items.popleft()
        if self._paused and len(self._items) <= self._limit // 2:
            self._paused = False
            self._resume()
        return item

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
