"""A serial port of this machine as a channel. It is ours alone, and each failure to open it names its remedy."""

import asyncio
import contextlib
import errno
import os
import termios
from collections.abc import Callable

import serial

from link.channels import WRITE_STALL_S, FileChannel, stalled
from link.threads import in_own_thread
from metering.errors import MeterUnreachable
from metering.text import Text

PTY_FRAME = "8N1"
OPEN_S = 5.0
"""Longest wait for the system to open a port: the driver of a broken adapter may never answer."""
_PARITY = {"N": serial.PARITY_NONE, "E": serial.PARITY_EVEN, "O": serial.PARITY_ODD}


class SerialChannel(FileChannel):
    """A port whose speed can be changed on the way."""

    async def set_speed(self, baud: int) -> None:
        """Change the speed when the last bit of what was written is out.

        A pseudo-terminal has no wire, but notes the speed: a simulator behind it can see it.
        """
        port = os.dup(self._fd)  # ours while the thread waits, whatever becomes of the channel
        try:
            async with asyncio.timeout(WRITE_STALL_S):
                await in_own_thread(f"speed of {self._name}", lambda: _change_speed(port, baud))
        except TimeoutError:
            raise MeterUnreachable(stalled(self._name)) from None
        except (OSError, termios.error) as error:
            raise MeterUnreachable(_speed_refusal(self._name, baud, error)) from error


def _change_speed(fd: int, baud: int) -> None:
    """Wait until all is out, then change the speed; the line's other attributes stay."""
    try:
        termios.tcdrain(fd)
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        attributes = termios.tcgetattr(fd)
        attributes[4] = attributes[5] = speed
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
    finally:
        os.close(fd)


def _speed_refusal(path: str, baud: int, error: Exception) -> Text:
    if error.args and error.args[0] == errno.EINVAL:
        return Text(f"{path} 不支持 {baud} 波特", f"{path} cannot do {baud} baud")
    return Text(f"{path} 已消失：检查适配器和电缆", f"{path} is gone: check the adapter and its cable")


async def open_serial(path: str, baud: int, frame: str) -> SerialChannel:
    """Open a serial port for us alone, `frame` such as `8N1`. Speed and frame mean nothing on a pseudo-terminal.

    Raises:
        MeterUnreachable: not there, not permitted, in use, unable to do this speed and frame, or not open in time.
    """
    try:
        port = await opened_in_time(path, lambda: _open_port(path, baud, frame), OPEN_S)
    except (OSError, ValueError, termios.error) as error:
        raise MeterUnreachable(serial_refusal(path, baud, frame, error)) from error
    end = Text(f"{path} 已消失：检查适配器和电缆", f"{path} is gone: check the adapter and its cable")
    return SerialChannel(port.fileno(), path, end, lambda: _close_port(port))


async def opened_in_time(path: str, open_port: Callable[[], serial.Serial], longest_s: float) -> serial.Serial:
    """Return what `open_port` opens; a port that opens too late is closed again, in the thread that waited for it.

    Raises:
        MeterUnreachable: too late.
    """
    left = False

    def unless_left() -> serial.Serial:
        port = open_port()
        if left:
            _close_port(port)
        return port

    try:
        async with asyncio.timeout(longest_s):
            return await in_own_thread(f"open {path}", unless_left)
    except TimeoutError:
        raise MeterUnreachable(_hangs(path, longest_s)) from None
    finally:
        left = True


def _hangs(path: str, longest_s: float) -> Text:
    return Text(
        f"{path} 在 {longest_s:g} 秒内没有打开：拔下适配器再插上，仍不行则更换适配器",
        f"{path} did not open in {longest_s:g} s: unplug the adapter and plug it in again; if that does not help, replace it",
    )


def _open_port(path: str, baud: int, frame: str) -> serial.Serial:
    bits, parity, stops = tuple(PTY_FRAME if _is_pty(path) else frame)
    port = serial.Serial(
        path,
        baudrate=baud,
        bytesize=int(bits),
        parity=_PARITY[parity],
        stopbits=int(stops),
        timeout=0,
        exclusive=True,
    )
    _make_silence_unlike_loss(port.fileno())
    return port


def _is_pty(path: str) -> bool:
    """Tell whether this is a pseudo-terminal, which has no wire and refuses parity (EINVAL from glibc)."""
    return os.path.realpath(path).startswith("/dev/pts/")


def _make_silence_unlike_loss(fd: int) -> None:
    """Set VMIN to 1. With pyserial's 0 an empty read means nothing there as well as unplugged."""
    attributes = termios.tcgetattr(fd)
    attributes[6][termios.VMIN] = 1
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _close_port(port: serial.Serial) -> None:
    """Close without waiting for bytes that a stuck line would not take: the kernel would wait 30 s for them."""
    with contextlib.suppress(termios.error):
        termios.tcflush(port.fileno(), termios.TCIOFLUSH)
    port.close()


def serial_refusal(path: str, baud: int, frame: str, error: Exception) -> Text:
    """Return why a port cannot be opened, with the remedy."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return Text(
            f"没有串口 {path}：检查适配器是否插好，用 ls /dev/serial/by-id 查看现有串口",
            f"there is no port {path}: plug in the adapter; ls /dev/serial/by-id shows the ports there are",
        )
    if code in (errno.EACCES, errno.EPERM):
        return Text(
            f"没有权限打开 {path}：把本用户加入 dialout 组（sudo usermod -aG dialout 用户名），重新登录",
            f"no permission to open {path}: add this user to the group dialout"
            " (sudo usermod -aG dialout USER) and log in again",
        )
    if code in (errno.EBUSY, errno.EAGAIN):
        return Text(
            f"{path} 正被另一个程序使用：用 fuser -v {path} 找到并停止它",
            f"{path} is in use by another program: find it with fuser -v {path} and stop it",
        )
    if code in (errno.ENODEV, errno.ENXIO, errno.EIO):
        return Text(
            f"{path} 后面没有设备：检查适配器和电缆",
            f"no device answers behind {path}: check the adapter and its cable",
        )
    return Text(
        f"{path} 不能以 {baud} {frame} 打开（{error}）：检查它是否为串口，以及是否支持该速率",
        f"{path} cannot be opened at {baud} {frame} ({error}): check that it is a serial port and can do that speed",
    )
