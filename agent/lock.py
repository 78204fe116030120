"""One agent per outbox: a lock beside the file, which the system frees when the process ends, however it ends."""

import fcntl
import os
from pathlib import Path

from metering.errors import StoreBusy, StoreFailed


class Lock:
    """An advisory lock that holds the owner's process id.

    Raises:
        StoreBusy: another process holds it; names it.
        StoreFailed: the lock file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreFailed(path=path, reason=error.strerror) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._handle, 20).decode("ascii", "replace").strip() or "?"
            os.close(self._handle)
            raise StoreBusy(path=path.with_suffix(""), pid=owner) from error
        self._sign()

    def _sign(self) -> None:
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            return  # a full disk keeps the lock, only the name of its owner is missing

    def release(self) -> None:
        os.close(self._handle)
