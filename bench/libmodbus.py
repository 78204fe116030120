"""How many Modbus TCP reads a second the agent makes, beside a client in C: libmodbus, on the same libmodbus server.

Ours is a whole poll: silence, request, channel, length, check, plausibility, decoding to named values, and the answer
handed over to the batch. The C client reads the same ten registers and decodes them to five floats. All run on one core.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.alternate import Missing, Row, Size, alternate, seconds
from bench.machine import one_core
from bench.poll import answers, with_batch

POLLS = 2500
SOURCE = Path(__file__).with_name("libmodbus.c")
REMEDY = "apt-get install gcc libmodbus-dev"
NAME = "Modbus TCP, libmodbus server"


def measure(size: Size, folder: Path) -> Iterator[Row | Missing]:
    program = _built(folder)
    if program is None:
        yield Missing(NAME, REMEDY)
        return
    count = size.of(POLLS)
    with one_core(), _running(program, "server") as server, asyncio.Runner() as runner:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        polls, whole = answers(port), with_batch(port)
        with _running(program, "client", str(port)) as client:
            found = alternate(
                {
                    "ours": lambda: count / seconds(lambda: runner.run(polls(count))),
                    "whole": lambda: count / seconds(lambda: runner.run(whole(count))),
                    "libmodbus": lambda: count / _asked(client, count),
                },
                size.rounds,
            )
    yield Row(NAME, "polls/s", found["ours"], found["libmodbus"], "libmodbus client in C, decoding to floats")
    yield Row("… with its batch", "polls/s", found["whole"], found["libmodbus"], "libmodbus client in C")


def _built(folder: Path) -> Path | None:
    """Return the program, or None where a compiler or the library is missing."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "libmodbus"
    built = subprocess.run(
        [compiler, "-O2", "-I/usr/include/modbus", "-o", str(program), str(SOURCE), "-lmodbus"], capture_output=True
    )
    return program if built.returncode == 0 else None


@contextmanager
def _running(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(5)


def _asked(client: subprocess.Popen[str], count: int) -> float:
    """Let the C client ask so often; return how long it took, seconds."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{count}\n")
    client.stdin.flush()
    return float(client.stdout.readline())
