"""Runs the ingester with its page, API and watchdog: the wiring only the front door knows."""

import asyncio
from contextlib import AbstractAsyncContextManager

from ingester import app
from ingester.page.feed import LiveSource, Site
from ingester.page.serve import serve as serve_page
from link.notify import Systemd, Watchdog
from link.real_world import RealWorld
from settings.document import Document
from settings.ingester import IngesterSettings
from tanbiao import __version__


async def serve(settings: IngesterSettings, document: Document, stop: asyncio.Event, demo: bool) -> None:
    """Run the ingester until `stop` is set."""
    world, systemd = RealWorld(), Systemd()
    watchdog = Watchdog(systemd)
    site = Site(
        zone=settings.site.zone, version=__version__, demo=demo, interval_ms=round(settings.site.interval * 1000)
    )

    def page(source: LiveSource, tasks: asyncio.TaskGroup) -> AbstractAsyncContextManager[str]:
        return serve_page(settings.page.host, settings.page.port, source, world, site, tasks)

    try:
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(watchdog.run())
            try:
                await app.run(settings, document, world, stop, systemd, watchdog.progress, page)
            finally:
                feeding.cancel()
    except ExceptionGroup as group:
        raise app.first_cause(group) from group
