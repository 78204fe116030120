"""Serves page and API inside the ingester's loop, from entering to leaving.

Promises
    * No signal handler is installed, no browser opened, nothing reloaded; leaving takes at most a second.
    * Only addresses of this machine: until accounts exist, page and API are not for the network.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from ingester.page.feed import Feed, LiveSource, Site
from ingester.page.web import web_app
from link.world import World
from metering.errors import LineBusy
from metering.text import Text

GOODBYE_S = 1


@asynccontextmanager
async def serve(
    host: str, port: int, source: LiveSource, world: World, site: Site, tasks: asyncio.TaskGroup
) -> AsyncIterator[str]:
    """Serve while inside; give the address, such as http://127.0.0.1:8080. Port 0 takes any free one.

    What runs meanwhile runs in `tasks`, and has ended when this is left.

    Raises:
        LineBusy: the address is in use, not permitted, or not of this machine.
    """
    listening = bind(host, port)
    feed = Feed(source, world)
    server = _Server(web_app(feed, source, site))
    running = tasks.create_task(feed.run())
    served = tasks.create_task(server.live(listening))
    await server.listening.wait()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    finally:
        feed.close()
        running.cancel()
        server.should_exit = True
        await asyncio.wait([running, served])


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address of this machine.

    Raises:
        LineBusy: with what to look at next.
    """
    name = f"{host}:{port}"
    if not _is_loopback(host):
        raise LineBusy(name=name, reason=_not_here(port))
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(found[0], socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(found[4])
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise LineBusy(name=name, reason=_taken(error, port)) from error
    listening.setblocking(False)
    return listening


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _not_here(port: int) -> Text:
    return Text(
        f"账户功能完成之前，页面只能在本机 127.0.0.1 打开；从别处访问请用 ssh -L {port}:127.0.0.1:{port}",
        "until accounts exist the page listens on 127.0.0.1 only; "
        f"from elsewhere reach it by ssh -L {port}:127.0.0.1:{port}",
    )


def _taken(error: OSError, port: int) -> Text:
    return Text(
        f"{error.strerror}。用 ss -ltnp 'sport = :{port}' 查看谁在用它，或换一个端口",
        f"{error.strerror}. See who uses it with ss -ltnp 'sport = :{port}', or choose another port",
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=GOODBYE_S,
            )
        )
        self.listening = asyncio.Event()

    async def live(self, listening: socket.socket) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[listening])
        self.listening.set()
        try:
            await self.main_loop()
        finally:
            await self.shutdown(sockets=[listening])
