"""The control socket: how a command asks the service that owns the store or the line.

One JSON line asks, `{"call": name, "args": {...}}`; JSON lines answer: `{"working": seconds}` while the call runs, then
`{"done": result}` or `{"error": {"zh": ..., "en": ...}}`. Who may write the socket file (mode 0660) may ask.

Promises
    * A socket file left by a dead process is replaced; one that a living process listens on is LineBusy.
    * A request is at most 8 MB; an asker that leaves cancels its call; a call that fails never stops the service.
    * `ask` never waits on a hung service: without a sign of life for 15 s it gives up.
    * Paths longer than a socket address (107 bytes) work.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from metering.errors import LineBusy, MeteringError, NotRunning, ServiceError
from metering.text import Text

log = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
"""What answers one call: takes its arguments, returns what JSON can hold. Its MeteringError reaches the asker."""

REQUEST_LIMIT = 8 * 1024 * 1024
REQUEST_S = 30.0
"""Longest wait for the request line."""
BEAT_S = 3.0
SILENCE_S = 15.0
GOODBYE_S = 3.0
ADDRESS_LIMIT = 108
"""Bytes of a Unix socket's address, the closing zero included (unix(7))."""


@asynccontextmanager
async def serve(path: Path, handlers: Mapping[str, Handler], beat_s: float = BEAT_S) -> AsyncIterator[None]:
    """Answer calls on the Unix socket `path` while the context lasts; a running call shows life every `beat_s`.

    Raises:
        LineBusy: another process listens there, or the socket cannot be made; on entering.
    """
    desk = _Desk(handlers, beat_s)
    server = await asyncio.start_unix_server(desk.attend, sock=_bind(path), limit=REQUEST_LIMIT)
    try:
        yield
    finally:
        _remove(path)
        server.close()
        await desk.close()


class _Desk:
    """Attends to everyone who asks."""

    def __init__(self, handlers: Mapping[str, Handler], beat_s: float) -> None:
        self._handlers = handlers
        self._beat_s = beat_s
        self._tasks: set[asyncio.Task[Any]] = set()

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except OSError as error:
            log.info("a command left before its answer: %s", error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GOODBYE_S)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            call, args = await _request(reader)
            work = asyncio.create_task(self._run(call, args))
        except MeteringError as error:
            await _reply(writer, _error(error))
            return
        try:
            await _keep_company(work, reader, writer, self._beat_s)
        finally:
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled():
            await _reply(writer, work.result())

    async def _run(self, call: str, args: dict[str, Any]) -> bytes:
        handler = self._handlers.get(call)
        if handler is None:
            return _error(MeteringError(UNKNOWN_CALL, call=call))
        try:
            return _line({"done": await handler(args)})
        except MeteringError as error:
            return _error(error)
        except Exception:
            log.exception("the call %s failed", call)
            return _error(MeteringError(BROKEN_CALL, call=call))


UNKNOWN_CALL = Text(
    "服务不认识 {call}：命令与服务的版本不同", "the service does not know {call}: it is of another version"
)
BROKEN_CALL = Text("服务执行 {call} 时出错，原因见其日志", "the service failed at {call}; its log says why")
BAD_REQUEST = Text("请求不合格", "malformed request")
LONG_REQUEST = Text("请求超过 8 MB，请分批发送", "the request exceeds 8 MB; send it in parts")


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    try:
        async with asyncio.timeout(REQUEST_S):
            line = await reader.readuntil(b"\n")
        request = json.loads(line)
    except asyncio.LimitOverrunError as error:
        raise MeteringError(LONG_REQUEST) from error
    except (TimeoutError, asyncio.IncompleteReadError, ValueError, RecursionError) as error:
        raise MeteringError(BAD_REQUEST) from error
    if not isinstance(request, dict) or not isinstance(request.get("args", {}), dict):
        raise MeteringError(BAD_REQUEST)
    return str(request.get("call")), request.get("args", {})


async def _keep_company(
    work: asyncio.Task[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter, beat_s: float
) -> None:
    """Wait for the work, with a sign of life now and then; stop waiting when the asker has left."""
    asker_left = asyncio.create_task(reader.read(1))
    waited_s = 0.0
    try:
        while not work.done() and not asker_left.done():
            await asyncio.wait({work, asker_left}, timeout=beat_s, return_when=asyncio.FIRST_COMPLETED)
            waited_s += beat_s
            if not work.done() and not asker_left.done():
                await _reply(writer, _line({"working": waited_s}))
    finally:
        asker_left.cancel()
        await asyncio.gather(asker_left, return_exceptions=True)


async def _reply(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    async with asyncio.timeout(REQUEST_S):
        await writer.drain()


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _error(error: MeteringError) -> bytes:
    return _line({"error": {"zh": error.say("zh"), "en": error.say("en")}})


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as address:
            _remove_stale(path, address)
            before = os.umask(0o117)
            try:
                listener.bind(address)
            finally:
                os.umask(before)
        listener.listen()
    except OSError as error:
        listener.close()
        raise LineBusy(name=path, reason=error.strerror) from error
    except LineBusy:
        listener.close()
        raise
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove_stale(path: Path, address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody does listen
    raise LineBusy(name=path, reason=Text("另一个进程正在监听", "another process listens on it"))


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give `path` in a form that fits into a socket address: a long one through its opened folder."""
    if len(os.fsencode(path)) < ADDRESS_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def ask(path: Path, call: str, args: Mapping[str, Any], silence_s: float = SILENCE_S) -> Any:
    """Ask the service that listens on `path`; wait for its answer as long as it shows signs of life.

    Raises:
        NotRunning: no service listens there.
        ServiceError: no permission, or the service stopped or hung meanwhile.
        MeteringError: the service's own refusal, in its words.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(silence_s)
        _connect(asker, path)
        try:
            asker.sendall(_line({"call": call, "args": dict(args)}))
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was read: the reason waits to be read
        except TimeoutError as error:
            raise ServiceError(HUNG, path=path) from error
        return _await_answer(asker, path)


HUNG = Text("服务（{path}）没有响应", "the service at {path} does not respond")
STOPPED = Text("服务（{path}）在回答之前停止了", "the service at {path} stopped before it answered")
FORBIDDEN = Text(
    "没有权限使用 {path}：请用服务的用户或其组成员运行（sudo -u tanbiao …）",
    "no permission to use {path}: run as the service's user or a member of its group (sudo -u tanbiao ...)",
)


def _connect(asker: socket.socket, path: Path) -> None:
    try:
        with _short(path) as address:
            asker.connect(address)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise NotRunning(path=path) from error
    except PermissionError as error:
        raise ServiceError(FORBIDDEN, path=path) from error
    except TimeoutError as error:
        raise ServiceError(HUNG, path=path) from error


def _await_answer(asker: socket.socket, path: Path) -> Any:
    try:
        with asker.makefile("rb") as lines, contextlib.suppress(ConnectionResetError):
            for line in lines:
                message = json.loads(line)
                if "done" in message:
                    return message["done"]
                if "error" in message:
                    raise MeteringError(Text(**message["error"]))
    except TimeoutError as error:
        raise ServiceError(HUNG, path=path) from error
    raise ServiceError(STOPPED, path=path)
