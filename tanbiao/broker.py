"""The demo's broker: amqtt on loopback. Plants run mosquitto; this one keeps nothing for the offline."""

import asyncio
import errno
import logging

from metering.errors import LineBusy
from metering.text import Text

log = logging.getLogger(__name__)


async def run(port: int, stop: asyncio.Event) -> None:
    """Serve MQTT 3.1.1 on 127.0.0.1 until told to stop.

    Raises:
        LineBusy: the port is in use.
    """
    from amqtt.broker import Broker
    from amqtt.errors import BrokerError

    logging.getLogger("amqtt.broker").setLevel(logging.CRITICAL)  # it logs what it raises, with a traceback
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 50}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    try:
        await broker.start()
    except (BrokerError, OSError) as error:
        number = getattr(error.__cause__ or error, "errno", None)
        reason = Text("端口被占用", "the port is in use") if number == errno.EADDRINUSE else str(error)
        raise LineBusy(name=f"127.0.0.1:{port}", reason=reason) from error
    log.info("broker listens on 127.0.0.1:%d", port)
    try:
        await stop.wait()
    finally:
        await broker.shutdown()
