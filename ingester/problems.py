"""How the API says no: RFC 9457 problem documents, worded in the language the client asked for."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ingester.page.languages import preferred
from metering.errors import MeteringError, ServiceError
from metering.text import Text

log = logging.getLogger(__name__)

NO_PATH = Text("没有 {path}；接口目录在 /api/openapi.json", "there is no {path}; /api/openapi.json lists what there is")
NO_METHOD = Text("{path} 不接受 {method}", "{path} does not take {method}")
INVALID = Text("参数 {name} 不可用：{value}", "parameter {name} cannot be used: {value}")
FAILED = Text("服务内部错误，详见日志", "internal error, see the log")


class Problem(Exception):
    """A request that cannot be answered, and why."""

    def __init__(self, status: HTTPStatus, text: Text, **values: object) -> None:
        super().__init__(text.say("en", **values))
        self.status, self.text, self.values = status, text, values


def add_problems(api: FastAPI) -> None:
    """Answer every error of `api` with a problem document."""

    @api.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return _document(request, error.status, error.text, **error.values)

    @api.exception_handler(MeteringError)
    async def refused(request: Request, error: MeteringError) -> JSONResponse:
        unavailable = isinstance(error, ServiceError)
        status = HTTPStatus.SERVICE_UNAVAILABLE if unavailable else HTTPStatus.NOT_FOUND
        return _document(request, status, Text(error.say("zh"), error.say("en")))

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name, value = first["loc"][-1], first.get("input")
        return _document(request, HTTPStatus.BAD_REQUEST, INVALID, name=name, value=value)

    @api.exception_handler(HTTPException)
    async def refused_path(request: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        text = NO_METHOD if status is HTTPStatus.METHOD_NOT_ALLOWED else NO_PATH
        answer = _document(request, status, text, path=request.url.path, method=request.method)
        answer.headers.update(error.headers or {})
        return answer

    @api.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %r failed", request.method, request.url.path, exc_info=error)
        return _document(request, HTTPStatus.INTERNAL_SERVER_ERROR, FAILED)


def _document(request: Request, status: HTTPStatus, text: Text, **values: object) -> JSONResponse:
    lang = preferred(request.headers.get("accept-language", ""))
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": text.say(lang, **values),
        "instance": request.url.path,
    }
    headers = {"content-language": lang, "vary": "accept-language"}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
