"""A Modbus TCP server on loopback: MBAP frames by its own code, any number of clients, one or more units."""

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncIterator, Iterable

from simulators.registers import ModbusUnit

log = logging.getLogger(__name__)
LONGEST = 254
"""Unit and PDU of an MBAP frame, bytes."""
FOREIGN = 0x5A5A
"""What is laid over the transaction id of a spoilt reply."""


class ModbusTcp:
    """Answers on the units given; other units are silent, as behind a gateway."""

    def __init__(self, units: Iterable[ModbusUnit], group: asyncio.TaskGroup) -> None:
        self._units = {unit.number: unit for unit in units}
        self._group = group
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[int]:
        """Listen on 127.0.0.1 and yield the port."""
        server = await asyncio.start_server(self._client, "127.0.0.1", port)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in self._writers:
                writer.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                transaction, protocol, length = struct.unpack(">HHH", await reader.readexactly(6))
                if protocol != 0 or not 2 <= length <= LONGEST:
                    log.info("a client sent no Modbus TCP; its connection is closed")
                    return
                body = await reader.readexactly(length)
                self._answer(writer, transaction, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, transaction: int, body: bytes) -> None:
        unit = self._units.get(body[0])
        reply = unit.answer(body[1:]) if unit else None
        if unit is None or reply is None:
            return
        if unit.corrupt():
            transaction ^= FOREIGN
        frame = struct.pack(">HHHB", transaction, 0, len(reply) + 1, body[0]) + reply
        if unit.delay_s():
            self._group.create_task(_send_later(writer, frame, unit.delay_s()))
        else:
            writer.write(frame)


async def _send_later(writer: asyncio.StreamWriter, frame: bytes, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    if not writer.is_closing():
        writer.write(frame)
