"""TLS to devices: who they are is checked, and each refusal names its remedy."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from link.real_world import RealWorld
from link.world import TlsFiles
from metering.errors import MeterUnreachable


@contextmanager
def device(files: Any, **wanted: Any) -> Iterator[int]:
    """Serve TLS that sends back what comes; `wanted` are attributes of its context, `trusts` its CA for clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.key)
    if trusts := wanted.pop("trusts", None):
        context.load_verify_locations(trusts)
        context.verify_mode = ssl.CERT_REQUIRED
    for name, value in wanted.items():
        setattr(context, name, value)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server, context), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(2.0)


def serve(server: socket.socket, context: ssl.SSLContext) -> None:
    """Attend to one client after the other until the server is shut down."""
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with suppress(OSError), client, context.wrap_socket(client, server_side=True) as line:
            while data := line.recv(1000):
                line.sendall(data)


async def refusal(world: RealWorld, port: int, files: TlsFiles, timeout_s: float = 2.0) -> MeterUnreachable:
    """Return why a device cannot be read from."""
    try:
        channel = await world.open_tcp("127.0.0.1", port, timeout_s, files)
        try:
            await asyncio.sleep(0.05)
            await channel.write(b"request")
            raise AssertionError(f"it answered {await channel.read(timeout_s)!r}")
        finally:
            await channel.close()
    except MeterUnreachable as error:
        return error


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_bytes_pass_in_both_versions(world: RealWorld, certificates: Any, version: ssl.TLSVersion) -> None:
    files = certificates("127.0.0.1")
    with device(files, maximum_version=version) as port:
        channel = await world.open_tcp("127.0.0.1", port, 2.0, TlsFiles("127.0.0.1", files.ca))
        await channel.write(bytes(40_000))
        received = b""
        while len(received) < 40_000:
            received += await channel.read(1.0)
        assert received == bytes(40_000)
        await channel.close()


async def test_a_device_of_an_unknown_authority_is_refused(world: RealWorld, certificates: Any) -> None:
    ours, theirs = certificates("127.0.0.1"), certificates("127.0.0.1")
    with device(theirs) as port:
        error = await refusal(world, port, TlsFiles("127.0.0.1", ours.ca))
        assert "name that authority's certificate in ca of tls" in error.say("en")
        assert "写入 tls 的 ca" in error.say("zh")
        error = await refusal(world, port, TlsFiles("127.0.0.1"))
        assert "an authority we do not trust" in error.say("en")


async def test_a_device_of_another_name_is_refused(world: RealWorld, certificates: Any) -> None:
    files = certificates("gateway.plant")
    with device(files) as port:
        error = await refusal(world, port, TlsFiles("127.0.0.1", files.ca))
        assert "is for another name" in error.say("en")
        assert "server_name" in error.say("zh")
        channel = await world.open_tcp("127.0.0.1", port, 2.0, TlsFiles("gateway.plant", files.ca))
        await channel.close()


@pytest.mark.parametrize("hours_ago", [100.0, -100.0], ids=["expired", "not yet valid"])
async def test_a_certificate_out_of_its_time_is_refused(world: RealWorld, certificates: Any, hours_ago: float) -> None:
    files = certificates("127.0.0.1", hours_ago)
    with device(files) as port:
        error = await refusal(world, port, TlsFiles("127.0.0.1", files.ca))
    assert "check the clocks of the device and of this machine" in error.say("en")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_our_certificate_is_shown_and_its_refusal_is_told(
    world: RealWorld, certificates: Any, version: ssl.TLSVersion
) -> None:
    files, others = certificates("127.0.0.1"), certificates("agent")
    with device(files, trusts=files.ca, maximum_version=version) as port:
        ours = TlsFiles("127.0.0.1", files.ca, files.server, files.key)
        channel = await world.open_tcp("127.0.0.1", port, 2.0, ours)
        await channel.write(b"request")
        assert await channel.read(1.0) == b"request"
        await channel.close()
        for wrong in (
            TlsFiles("127.0.0.1", files.ca),
            TlsFiles("127.0.0.1", files.ca, others.server, others.key),
        ):
            error = await refusal(world, port, wrong)
            assert "set cert and key of tls" in error.say("en"), error
            assert "在 tls 中设置 cert 和 key" in error.say("zh")


async def test_a_device_without_tls_1_2_is_refused(world: RealWorld, certificates: Any) -> None:
    files = certificates("127.0.0.1")
    old: dict[str, Any] = {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1}
    with pytest.warns(DeprecationWarning, match="TLSv1"), device(files, **old) as port:
        error = await refusal(world, port, TlsFiles("127.0.0.1", files.ca))
    assert "enable TLS 1.2 or later on the device" in error.say("en")


async def test_a_port_without_tls_is_told_from_a_silent_one(world: RealWorld, certificates: Any, peer: Any) -> None:
    files = certificates("127.0.0.1")
    began = time.monotonic()
    error = await refusal(world, peer.port, TlsFiles("127.0.0.1", files.ca), 0.3)
    assert "did not complete the TLS handshake" in error.say("en")
    assert time.monotonic() - began < 1.5


async def test_an_answer_that_is_no_tls_is_told(world: RealWorld, certificates: Any, peer: Any) -> None:
    files = certificates("127.0.0.1")
    opening = asyncio.ensure_future(refusal(world, peer.port, TlsFiles("127.0.0.1", files.ca)))
    _, writer = await peer.streams()
    writer.write(b"\x00\x01\x00\x00\x00\x03\x01\x83\x02")
    assert "not TLS" in (await opening).say("en")


@pytest.mark.parametrize(
    "files",
    [
        lambda folder, ok: TlsFiles("x", folder / "no-such.pem"),
        lambda folder, ok: TlsFiles("x", folder / "nonsense.pem"),
        lambda folder, ok: TlsFiles("x", ok.ca, folder / "no-such.pem"),
        lambda folder, ok: TlsFiles("x", ok.ca, ok.server, folder / "other.key"),
    ],
)
async def test_a_file_of_ours_that_cannot_be_used_is_named(
    world: RealWorld, certificates: Any, tmp_path: Path, peer: Any, files: Callable[[Path, Any], TlsFiles]
) -> None:
    (tmp_path / "nonsense.pem").write_text("nonsense")
    (tmp_path / "other.key").write_bytes(certificates("agent").key.read_bytes())
    error = await refusal(world, peer.port, files(tmp_path, certificates("127.0.0.1")))
    assert str(tmp_path) in error.say("en")
    assert "check the file" in error.say("en")
