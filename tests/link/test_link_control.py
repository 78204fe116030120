"""The control socket: a service answers, a blocking client asks."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from link import control
from metering.errors import LineBusy, MeteringError, NotRunning, ServiceError, StoreFailed


async def echo(args: dict[str, Any]) -> Any:
    return args


async def fail(args: dict[str, Any]) -> Any:
    raise StoreFailed(path="series.duckdb", reason="{disk full}")


async def crash(args: dict[str, Any]) -> Any:
    return args["nothing"]


CALLS = {"echo": echo, "fail": fail, "crash": crash}


async def ask(path: Path, call: str, args: dict[str, Any], silence_s: float = 5.0) -> Any:
    return await asyncio.to_thread(control.ask, path, call, args, silence_s)


async def send(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    answer = await reader.readline()
    writer.close()
    return answer


async def test_a_call_returns_what_its_handler_returns(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        assert await ask(path, "echo", {"report": "总量", "n": [1, 2.5, None]}) == {
            "report": "总量",
            "n": [1, 2.5, None],
        }


async def test_the_services_refusal_reaches_the_asker_in_both_languages(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        with pytest.raises(MeteringError) as refusal:
            await ask(path, "fail", {})
    assert refusal.value.say("en") == "store series.duckdb failed: {disk full}"
    assert refusal.value.say("zh") == "存储 series.duckdb 出错：{disk full}"


async def test_a_handler_that_crashes_is_logged_and_the_service_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        with pytest.raises(MeteringError, match="failed at crash; its log says why"):
            await ask(path, "crash", {})
        assert "KeyError" in caplog.text
        assert await ask(path, "echo", {}) == {}


async def test_an_unknown_call_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        with pytest.raises(MeteringError, match="does not know dance: it is of another version"):
            await ask(path, "dance", {})


async def test_a_megabyte_csv_goes_through_and_nine_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        csv = "gas-main,volume,2025-01-01T00:00:00+08:00,1.5\n" * 20_000
        assert await ask(path, "echo", {"csv": csv}) == {"csv": csv}
        with pytest.raises(MeteringError, match="exceeds 8 MB"):
            await ask(path, "echo", {"csv": "x" * 9_000_000})


@pytest.mark.parametrize("request_line", [b"\n", b"not json\n", b"[1]\n", b'{"call":"echo","args":3}\n', b"\xff\xfe\n"])
async def test_a_malformed_request_is_refused_and_the_service_goes_on(tmp_path: Path, request_line: bytes) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        assert json.loads(await send(path, request_line))["error"]["en"] == "malformed request"
        assert await ask(path, "echo", {}) == {}


async def test_a_deeply_nested_request_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        answer = await send(path, b'{"call":"echo","args":' + b"[" * 100_000 + b"\n")
        assert "error" in json.loads(answer)


async def test_a_long_call_shows_signs_of_life(tmp_path: Path) -> None:
    async def slow(args: dict[str, Any]) -> Any:
        await asyncio.sleep(0.5)
        return "at last"

    path = tmp_path / "control"
    async with control.serve(path, {"slow": slow}, beat_s=0.05):
        assert await ask(path, "slow", {}, silence_s=0.3) == "at last"


async def test_an_asker_that_leaves_cancels_its_call(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def endless(args: dict[str, Any]) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    path = tmp_path / "control"
    async with control.serve(path, {"endless": endless}):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"call":"endless"}\n')
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.wait_for(cancelled.wait(), 2)


async def test_stopping_the_service_tells_who_is_waiting(tmp_path: Path) -> None:
    async def endless(args: dict[str, Any]) -> Any:
        await asyncio.sleep(60)

    path = tmp_path / "control"
    async with control.serve(path, {"endless": endless}):
        asking = asyncio.ensure_future(ask(path, "endless", {}))
        await asyncio.sleep(0.1)
    with pytest.raises(ServiceError, match="stopped before it answered"):
        await asking
    assert not path.exists()


async def test_a_service_that_hangs_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen()
        with pytest.raises(ServiceError, match="does not respond"):
            await ask(path, "echo", {}, silence_s=0.1)


async def test_nobody_there_is_not_running(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="nothing listens on"):
        control.ask(tmp_path / "control", "echo", {})
    with pytest.raises(NotRunning):
        control.ask(tmp_path / "no" / "folder" / "control", "echo", {})


async def test_a_socket_left_by_a_dead_service_is_not_running_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotRunning):
        control.ask(path, "echo", {})
    async with control.serve(path, CALLS):
        assert await ask(path, "echo", {}) == {}


async def test_a_second_service_on_the_same_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        with pytest.raises(LineBusy) as refusal:
            async with control.serve(path, CALLS):
                pass
        assert refusal.value.say("zh") == f"{path} 不可用：另一个进程正在监听"
        assert await ask(path, "echo", {}) == {}


async def test_only_owner_and_group_may_ask(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control.serve(path, CALLS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 15) / ("deeper" * 15)
    folder.mkdir(parents=True)
    async with control.serve(folder / "control", CALLS):
        assert await ask(folder / "control", "echo", {"n": 1}) == {"n": 1}
    assert not os.listdir(folder)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LineBusy, match=r"nowhere/control cannot be used: No such file or directory"):
        async with control.serve(tmp_path / "nowhere" / "control", CALLS):
            pass
