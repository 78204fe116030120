"""What a server tells by itself, and a watchdog over it.

One subscription for a session, one item for each point. There is no task: a Publish request always lies at the server, and
its reply is taken when it comes. A subscription has gone quiet when it missed its keep-alives, when it or its Publish
requests were refused, or when readings differ from what it told last by more than the deadband for longer than it may
take to say so. It is then built anew, which is logged once until it has told something again.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaStatusCodeError

from drivers.contract import Surroundings, Value
from drivers.opcua.blocks import Blocks
from drivers.opcua.bounded import BoundedClient, reply_head
from drivers.opcua.codec import Target, epoch_ms, standard_node
from drivers.opcua.errors import is_loss
from drivers.opcua.item import Item
from drivers.opcua.settings import OpcUaLine

log = logging.getLogger(__name__)

KEEP_ALIVES = 5
"""Publishing intervals without news after which the server says that it is alive."""
LIFETIME = 10 * KEEP_ALIVES
QUEUE = 100
"""Values of one node the server keeps until it can tell them."""
AT_ONCE = 500
"""Items made with one request."""
PUBLISHING = 2
"""Publish requests that lie at the server."""
_NO_FILTER = (StatusCodes.BadMonitoredItemFilterInvalid, StatusCodes.BadMonitoredItemFilterUnsupported,
              StatusCodes.BadFilterNotAllowed, StatusCodes.BadDeadbandFilterInvalid)  # fmt: skip


class Subscription:
    """The subscription of one session."""

    def __init__(self, client: BoundedClient, line: OpcUaLine, world: Surroundings) -> None:
        self._client = client
        self._line = line
        self._world = world
        self._meters: dict[str, dict[tuple[str, ua.NodeId], Item]] = {}
        self._items: dict[int, Item] = {}
        self._handles = 0
        self._at_once = AT_ONCE
        self._id: int | None = None
        self._unsupported = False
        self._interval_s = line.sampling
        self._silence_s = 0.0
        self._heard_s = 0.0
        self._wrong = ""
        self._logged = False
        self._acks: list[ua.SubscriptionAcknowledgement] = []
        self._expected: int | None = None
        self.rebuilt = 0

    async def follow(self, meter: str, targets: Sequence[Target], blocks: Blocks) -> None:
        """Watch a meter's points from now on, and see that what is watched is still told."""
        if self._unsupported:
            return
        if self._id is None and not await self._create():
            return
        known = self._meters.setdefault(meter, {})
        fresh = [target for target in targets if (target.measure.point, target.node) not in known]
        if fresh:
            spans = await self._spans(fresh, blocks)
            items = [Item(target, self._line.deadband.of(spans.get(target.node))) for target in fresh]
            await self._watch(items)
            known |= {(item.target.measure.point, item.target.node): item for item in items}
        if self._now_s() - self._heard_s > self._silence_s:
            self._wrong = self._wrong or "keep-alives missed"
        if self._wrong:
            await self._rebuild()

    async def told(self, meter: str, read: Mapping[ua.NodeId, ua.DataValue]) -> list[Value]:
        """Return what was told of a meter since the last time, oldest first, and compare it with what was just read.

        A reading of some of the points only takes nothing: what was told waits for the whole one.
        """
        items = list(self._meters.get(meter, {}).values())
        if any(item.target.node not in read for item in items):
            return []
        now_s = self._now_s()
        patience_s = 2 * (self._interval_s + self._line.sampling) + 1
        for item in items:
            if not item.agrees(read[item.target.node], now_s, patience_s):
                self._wrong = f"a change of {item.target.node.to_string()} was not told"
        values = sorted((value for item in items for value in item.take()), key=lambda value: value.at_ms or 0)
        if self._wrong and self._id is not None:
            await self._rebuild()
        return values

    async def _create(self) -> bool:
        """Make the subscription; a server that has none is only read."""
        interval_ms = self._line.sampling * 1000
        request = ua.CreateSubscriptionRequest()
        request.Parameters = ua.CreateSubscriptionParameters(interval_ms, LIFETIME, KEEP_ALIVES, 1000, True, 0)
        try:
            data = await self._client.uaclient._send_request(request)
            reply_head(data, ObjectIds.CreateSubscriptionResponse_Encoding_DefaultBinary)
        except UaStatusCodeError as error:
            if self._client.lost or is_loss(error.code):
                raise
            log.warning("%s: no subscription (%s); values are only read", self._line.url, error)
            self._unsupported = True
            return False
        made = struct_from_binary(ua.CreateSubscriptionResult, data)
        self._id = made.SubscriptionId
        self._interval_s = max(self._line.sampling, made.RevisedPublishingInterval / 1000)
        self._silence_s = 1.5 * self._interval_s * max(1, made.RevisedMaxKeepAliveCount) + self._line.timeout
        self._heard_s, self._expected, self._acks, self._wrong = self._now_s(), None, [], ""
        for _ in range(PUBLISHING):
            self._publish()
        return True

    async def _rebuild(self) -> None:
        """Make subscription and items anew, and let the old one go."""
        old, self._id, self._items = self._id, None, {}
        self.rebuilt += 1
        if not self._logged:
            log.warning("%s: the subscription went quiet (%s): built anew", self._line.url, self._wrong)
            self._logged = True
        if old is not None:
            request = ua.DeleteSubscriptionsRequest()
            request.Parameters.SubscriptionIds = [old]
            self._client.ask(request, lambda _: None, self._line.timeout)
        if await self._create():
            for items in self._meters.values():
                for item in items.values():
                    item.fresh, item.last, item.differs_since_s, item.lossy = True, None, None, True
                await self._watch(list(items.values()))

    async def _watch(self, items: Sequence[Item]) -> None:
        handles = {}
        for item in items:
            self._handles += 1
            handles[self._handles] = self._items[self._handles] = item
        unfiltered = await self._make(handles, filtered=True)
        await self._make({handle: handles[handle] for handle in unfiltered}, filtered=False)

    async def _make(self, handles: Mapping[int, Item], filtered: bool) -> list[int]:
        """Make items; return those whose filter the server does not take. One it does not watch at all is only read."""
        refused: list[int] = []
        todo = list(handles)
        while todo:
            some, todo = todo[: self._at_once], todo[self._at_once :]
            wanted: Any = [self._item(handle, handles[handle], filtered) for handle in some]
            parameters = ua.CreateMonitoredItemsParameters(self._id, ua.TimestampsToReturn.Both, wanted)
            try:
                made = await self._client.uaclient.create_monitored_items(parameters)
            except UaStatusCodeError as error:
                if self._client.lost or is_loss(error.code):
                    raise
                if len(some) > 1:  # more than the server takes at once
                    self._at_once, todo = len(some) // 2, some + todo
                continue
            for handle, result in zip(some, made, strict=False):
                if result.StatusCode.value in _NO_FILTER:
                    refused.append(handle)
                    handles[handle].deadband = 0.0
        return refused

    def _item(self, handle: int, item: Item, filtered: bool) -> ua.MonitoredItemCreateRequest:
        parameters = ua.MonitoringParameters(handle, self._line.sampling * 1000, QueueSize=QUEUE, DiscardOldest=True)
        if filtered and item.deadband > 0:
            absolute = ua.DeadbandType.Absolute
            parameters.Filter = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, absolute, item.deadband)
        value = ua.ReadValueId(NodeId=item.target.node, AttributeId=AttributeIds.Value)
        return ua.MonitoredItemCreateRequest(value, ua.MonitoringMode.Reporting, parameters)

    async def _spans(self, targets: Sequence[Target], blocks: Blocks) -> dict[ua.NodeId, float]:
        """Return how wide each node's range is (EURange, OPC 10000-8, 5.3.2), where the deadband is a share of it."""
        if not self._line.deadband.percent:
            return {}
        element: Any = ua.RelativePathElement(
            standard_node(ObjectIds.HasProperty), TargetName=ua.QualifiedName("EURange")
        )
        element.IsInverse, element.IncludeSubtypes = False, True
        paths: Any = [ua.BrowsePath(target.node, ua.RelativePath([element])) for target in targets]
        places = await self._client.uaclient.translate_browsepaths_to_nodeids(paths)
        properties = {
            ua.NodeId(place.Targets[0].TargetId.Identifier, place.Targets[0].TargetId.NamespaceIndex): target.node
            for target, place in zip(targets, places, strict=False)
            if place.Targets
        }
        found = await blocks.read(list(properties))
        ranges = {node: data.Value.Value for node, data in zip(properties.values(), found, strict=True) if data.Value}
        return {node: abs(span.High - span.Low) for node, span in ranges.items() if isinstance(span, ua.Range)}

    def _publish(self) -> None:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements, self._acks = self._acks, []
        self._client.ask(request, self._published, 2 * self._silence_s)

    def _published(self, data: Buffer | None) -> None:
        """Take the reply to a Publish request and send the next."""
        if data is None:
            self._wrong = self._wrong or "the server refused to tell more"
            return
        try:
            reply_head(data, ObjectIds.PublishResponse_Encoding_DefaultBinary)
            result = struct_from_binary(ua.PublishResult, data)
            if result.SubscriptionId == self._id:
                self._hear(result.NotificationMessage)
        except Exception as error:  # noqa: BLE001 - asyncua's parser raises what a reply makes it raise
            self._wrong = f"unreadable notification: {error}"
            return
        self._client.keep_alive()
        self._publish()

    def _hear(self, message: ua.NotificationMessage) -> None:
        self._heard_s = self._now_s()
        number = message.SequenceNumber
        if self._expected is not None and number != self._expected:
            self._mark_lossy(self._items.values())
        if not message.NotificationData:  # a keep-alive: it has the number of the next message
            self._expected = number
            return
        self._expected = 1 if number == 0xFFFF_FFFF else number + 1
        self._acks.append(ua.SubscriptionAcknowledgement(self._id, number))
        now_ms, published_ms = self._world.now_ms(), epoch_ms(message.PublishTime)
        for told in message.NotificationData:
            if isinstance(told, ua.StatusChangeNotification):
                self._wrong = f"the server ended it: {told.Status.name}"
            for one in getattr(told, "MonitoredItems", None) or ():
                self._hear_item(one, now_ms, published_ms)

    def _hear_item(self, told: ua.MonitoredItemNotification, now_ms: int, published_ms: int | None) -> None:
        item = self._items.get(told.ClientHandle)
        if item is None:
            return
        if not item.fresh:
            self._logged = False
        if item.hear(told.Value, now_ms, published_ms, self._line.stale_after * 1000):
            log.warning("%s: values of %s were lost in a queue", self._line.url, item.target.node.to_string())

    @staticmethod
    def _mark_lossy(items: Iterable[Item]) -> None:
        for item in items:
            item.lossy = True

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
