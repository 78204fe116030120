"""The chain of a stream's batches: each names the hash of the one before."""

from collections.abc import Sequence

from ingester.store.contract import Arrived, Link, SeriesStore

REMEMBERED = 20_000
"""Links kept in memory, so that a live batch finds its neighbour without asking the store."""
NOTHING_BEFORE = Link("", None)


class Chain:
    """Judges batches against their neighbours, as far as these are known. An unknown neighbour is open, not broken."""

    def __init__(self, series: SeriesStore) -> None:
        self._series = series
        self._recent: dict[tuple[str, str, int], Link] = {}

    def judge(self, arrivals: Sequence[Arrived]) -> tuple[list[Arrived], list[tuple[Arrived, str]]]:
        """Return the batches that fit, and those that do not with the reason."""
        sound: list[Arrived] = []
        broken: list[tuple[Arrived, str]] = []
        here: dict[tuple[str, str, int], Link] = {}
        for arrived in arrivals:
            reason = self._fault(arrived, here)
            if reason:
                broken.append((arrived, reason))
            else:
                sound.append(arrived)
                here[arrived.batch.identity] = Link(arrived.sha256, arrived.batch.prev)
        return sound, broken

    def note(self, arrivals: Sequence[Arrived]) -> None:
        """Remember batches that were committed."""
        for arrived in arrivals:
            self._recent[arrived.batch.identity] = Link(arrived.sha256, arrived.batch.prev)
        for oldest in list(self._recent)[: max(len(self._recent) - REMEMBERED, 0)]:
            del self._recent[oldest]

    def _fault(self, arrived: Arrived, here: dict[tuple[str, str, int], Link]) -> str:
        batch = arrived.batch
        links = self._links(batch.agent, batch.stream, (batch.seq - 1, batch.seq, batch.seq + 1), here)
        before, same, after = (links.get(batch.seq + step) for step in (-1, 0, 1))
        if batch.seq == 1:
            before = NOTHING_BEFORE
        if same is not None and same.prev is not None and same.sha256 != arrived.sha256:
            return f"another batch has the number {batch.seq} of stream {batch.stream}"
        if before is not None and before.sha256 != batch.prev and not _is_unknown(before, batch.seq):
            return f"broken chain: batch {batch.seq} of stream {batch.stream} does not follow batch {batch.seq - 1}"
        if after is not None and after.prev is not None and after.prev != arrived.sha256:
            return f"broken chain: batch {batch.seq + 1} of stream {batch.stream} does not follow batch {batch.seq}"
        return ""

    def _links(
        self, agent: str, stream: str, seqs: tuple[int, ...], here: dict[tuple[str, str, int], Link]
    ) -> dict[int, Link]:
        found: dict[int, Link] = {}
        asked: list[int] = []
        for seq in seqs:
            link = here.get((agent, stream, seq)) or self._recent.get((agent, stream, seq))
            if link is None:
                asked.append(seq)
            else:
                found[seq] = link
        return found | self._series.links(agent, stream, asked)


def _is_unknown(before: Link, seq: int) -> bool:
    """Whether the batch before was lost together with its hash: the chain is open there."""
    return seq > 1 and before.prev is None and not before.sha256
