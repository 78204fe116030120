"""The web application: page, API and metrics behind one door, which knows who may knock."""

import logging
from http import HTTPStatus
from pathlib import Path

import nicegui
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingester.api import api_app
from ingester.metrics import metrics_route
from ingester.page.feed import Feed, LiveSource, Site
from ingester.page.languages import preferred
from ingester.page.models import Models
from ingester.page.shell import LOGO, add_pages
from metering.text import Text

log = logging.getLogger(__name__)

NO_PAGE = Text("没有这个页面；首页在 /zh/", "there is no such page; the page is at /en/")
FAILED = Text("页面出错，详见服务日志", "the page failed, see the service's log")

ASSETS = Path(__file__).parent / "assets"
HOSTS = ["127.0.0.1", "localhost", "::1", "[::1]"]
"""Names of this machine: another name in a request means a foreign page that had it point here."""

PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
API_POLICY = "default-src 'none'; frame-ancestors 'none'"


def web_app(feed: Feed, source: LiveSource, site: Site) -> FastAPI:
    """Return the application. NiceGUI is one to a process: a second application takes the pages over from the first."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    app.add_middleware(Headers)
    app.mount("/api", api_app(feed, source, site))
    app.add_api_route("/metrics", metrics_route(feed, site))
    app.add_api_route("/", to_language)
    app.add_api_route("/assets/{name}", asset)
    nicegui.app.add_exception_handler(404, no_page)
    nicegui.app.add_exception_handler(Exception, failed)
    nicegui.app.middleware_stack = None
    nicegui.app.user_middleware.clear()
    add_pages(Models(feed, site).of, site.version, demo=site.demo)
    ui.run_with(
        app,
        title=LOGO,
        favicon=ASSETS / "favicon.svg",
        dark=None,
        tailwind=False,
        binding_refresh_interval=None,
        show_welcome_message=False,
    )
    return app


async def to_language(request: Request) -> RedirectResponse:
    return RedirectResponse(f"/{preferred(request.headers.get('accept-language', ''))}/")


async def no_page(request: Request, error: Exception) -> Response:
    return plain(HTTPStatus.NOT_FOUND, NO_PAGE)


async def failed(request: Request, error: Exception) -> Response:
    log.error("page %r failed", request.url.path, exc_info=error)
    return plain(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED)


def plain(status: HTTPStatus, text: Text) -> Response:
    return PlainTextResponse(f"{text.zh}\n{text.en}\n", status)


async def asset(name: str) -> Response:
    known = {path.name: path for path in ASSETS.iterdir()}
    return FileResponse(known[name]) if name in known else plain(HTTPStatus.NOT_FOUND, NO_PAGE)


class Headers:
    """Says to every browser what an answer may do: the API nothing, the page only what comes from here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        policy = API_POLICY if path.startswith(("/api", "/metrics")) else PAGE_POLICY

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", policy.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"x-frame-options", b"DENY"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)
