"""An adapter pulled and plugged in again under another number, and a port we lose the permission for."""

import os
import tty
from pathlib import Path
from typing import Any

import pytest

from link.real_world import RealWorld
from metering.errors import MeterUnreachable

CYCLES = 1000


async def test_f27_a_port_by_its_lasting_name_opens_again_after_each_of_a_thousand_pulls_and_leaks_nothing(
    world: RealWorld, tmp_path: Path
) -> None:
    by_id = tmp_path / "usb-FTDI_FT232R-if00-port0"
    before = len(os.listdir("/proc/self/fd"))
    numbers = set()
    holders: list[int] = []
    for cycle in range(CYCLES):
        far, near = os.openpty()
        tty.setraw(near)
        numbers.add(os.ttyname(near))
        by_id.unlink(missing_ok=True)
        by_id.symlink_to(os.ttyname(near))
        channel = await world.open_serial(str(by_id), 9600, "8N1")
        os.close(near)
        os.write(far, b"reply")
        assert await channel.read(1.0) == b"reply"
        if cycle % 2:
            holders.append(far)  # the number stays taken: the next adapter comes as another one
        else:
            os.close(far)
            with pytest.raises(MeterUnreachable, match="is gone: check the adapter"):
                await channel.read(1.0)
        await channel.close()
        if len(holders) > 3:
            os.close(holders.pop(0))
    for far in holders:
        os.close(far)
    assert len(numbers) > 1
    assert len(os.listdir("/proc/self/fd")) == before


async def test_f27_a_port_that_is_not_there_yet_opens_when_it_is(world: RealWorld, pty: Any, tmp_path: Path) -> None:
    by_id = tmp_path / "usb-adapter"
    with pytest.raises(MeterUnreachable, match="there is no port"):
        await world.open_serial(str(by_id), 9600, "8N1")
    by_id.symlink_to(pty.path)
    await (await world.open_serial(str(by_id), 9600, "8N1")).close()


async def test_f28_a_port_whose_permission_is_lost_names_the_group_and_opens_when_it_is_given_back(
    world: RealWorld, pty: Any
) -> None:
    os.chmod(pty.path, 0o000)
    ours = os.geteuid()
    try:
        if ours == 0:
            os.seteuid(65534)  # root may open anything
        with pytest.raises(MeterUnreachable) as refused:
            await world.open_serial(pty.path, 9600, "8N1")
    finally:
        os.seteuid(ours)
    assert "add this user to the group dialout" in refused.value.say("en")
    assert "加入 dialout 组" in refused.value.say("zh")
    os.chmod(pty.path, 0o600)
    await (await world.open_serial(pty.path, 9600, "8N1")).close()
