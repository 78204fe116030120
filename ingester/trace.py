"""Why this number: one interval of one source, walked back to the factor rows, the readings, the instrument and its certificate.

Clauses 8.5 and 9.2 d: the figure, its formula with the numbers in it, where each factor comes from, the readings at both edges, and
what the instrument's records said on that day.
"""

from dataclasses import dataclass
from typing import Any

from calibration.due import State
from ingester.accounts import Account, Accounts, PointSpec
from ingester.derive import Deriver
from ingester.flags import flag_text
from ingester.grid import Grid
from ingester.report import amount, bare, row_tonnes
from ingester.store.contract import Result, SeriesStore
from metering.activity import multiplier_at
from metering.errors import MeteringError
from metering.quantity import plain
from metering.text import Lang, Text

SHOWN_READINGS = 20
"""Readings of the interval shown at each end; all of them are in the store."""


@dataclass(frozen=True)
class Tracer:
    """Walks figures back. Blocking."""

    accounts: Accounts
    series: SeriesStore
    deriver: Deriver
    grid: Grid

    def trace(self, source: str, at_ms: int, now_ms: int) -> dict[str, Any]:
        """Return the chain behind the interval of `source` that holds `at_ms`.

        Raises:
            MeteringError: an unknown source, or no figure at that time.
        """
        account = self._account(source)
        result = self._result(account, at_ms, now_ms)
        tonnes, _ = row_tonnes(account, [result])
        choice = account.choose(result.start_ms) if account.choose else None
        return {
            "source": account.id,
            "name": {"zh": account.name.zh, "en": account.name.en},
            "category": account.category,
            "start": self.grid.iso(result.start_ms),
            "end": self.grid.iso(result.end_ms),
            "emission": {"value": None if tonnes is None else plain(tonnes), "unit": "tCO2"},
            "activity": amount(result.activity, account.unit),
            "formula": _with_numbers(choice.formula, result) if choice else None,
            "factors": choice.provenance if choice else [],
            "points": [self._point(sign, point, result) for sign, point in account.terms],
            "instruments": result.evidence["instruments"],
            "quality_ms": {
                "measured": result.measured_ms - result.substituted_ms,
                "apportioned": result.apportioned_ms,
                "substituted": result.substituted_ms,
                "missing": result.missing_ms,
            },
            "flags": list(result.flags),
            "revision": result.revision,
            "cause": result.cause,
            "derived_at": self.grid.iso(result.derived_ms),
            "uncertainty_percent": None if result.uncertainty_percent is None else plain(result.uncertainty_percent),
            "earlier_revisions": result.revision - 1 if result.revision else 0,
        }

    def _account(self, source: str) -> Account:
        if source in self.accounts.by_id:
            return self.accounts.by_id[source]
        raise MeteringError(
            Text("没有名为 {source} 的排放源；已配置：{known}", "no source {source}; there are {known}"),
            source=source,
            known=", ".join(account.id for account in self.accounts.sources),
        )

    def _result(self, account: Account, at_ms: int, now_ms: int) -> Result:
        start = self.grid.floor(at_ms)
        stored = self.series.results(start, start + 1, account.id)
        opened = [r for r in self.deriver.open_results(now_ms) if r.account == account.id and r.start_ms == start]
        if stored or opened:
            return (stored or opened)[0]
        raise MeteringError(
            Text(
                "{source} 在 {time} 没有数据：该间隔内外都没有可用读数",
                "nothing is known of {source} at {time}: no reading reaches that interval",
            ),
            source=account.id,
            time=self.grid.iso(at_ms),
        )

    def _point(self, sign: int, point: PointSpec, result: Result) -> dict[str, Any]:
        edges = result.evidence["points"].get(point.name, {})
        return {
            "point": point.name,
            "sign": sign,
            "unit": bare(point.unit),
            "multiplier": plain(multiplier_at(point.multipliers, result.start_ms)),
            "register_at_start": [self._knot(knot) for knot in edges.get("start", [])],
            "register_at_end": [self._knot(knot) for knot in edges.get("end", [])],
            "readings": self._readings(point.name, result),
            "amounts": self._amounts(point, result) if point.role == "quantity" else [],
        }

    def _amounts(self, point: PointSpec, result: Result) -> list[dict[str, Any]]:
        """Return the amounts that reach into the interval, each of its own stretch of time."""
        return [
            {"from": self.grid.iso(one.from_ms), "to": self.grid.iso(one.to_ms), "value": plain(one.value)}
            for one in self.series.amounts(point.name, result.start_ms, result.end_ms)
        ]

    def _knot(self, knot: list[Any]) -> dict[str, Any]:
        return {"at": self.grid.iso(knot[0]), "value": knot[1]}

    def _readings(self, point: str, result: Result) -> dict[str, Any]:
        rows = self.series.readings(point, result.start_ms, result.end_ms, 100_000)
        shown = rows if len(rows) <= 2 * SHOWN_READINGS else [*rows[:SHOWN_READINGS], *rows[-SHOWN_READINGS:]]
        return {
            "count": len(rows),
            "rows": [
                {
                    "at": self.grid.iso(row.measured_ms),
                    "value": row.value,
                    "unit": row.unit,
                    "quality": row.quality.text.en,
                    "agent": row.agent,
                }
                for row in shown
            ],
        }


def _with_numbers(formula: str, result: Result) -> str:
    """Return the formula with the activity in the place of its symbol."""
    known = "–" if result.activity is None else f"{plain(result.activity)} {result.unit}"
    return formula.removeprefix("E = ").replace("FC", known, 1).replace("AD", known, 1)


def trace_text(trace: dict[str, Any], lang: Lang) -> str:
    """Return a trace as lines a person reads, from the tonne down to the certificate."""
    return "\n".join(_lines(trace, lang))


def _lines(trace: dict[str, Any], lang: Lang) -> list[str]:
    lines = [
        f"{trace['name'][lang]} ({trace['source']})  {trace['start']} … {trace['end']}",
        "",
        HEADINGS["emission"].say(lang, value=trace["emission"]["value"] or "–"),
        f"  = {trace['formula']}" if trace["formula"] else "",
        HEADINGS["activity"].say(lang, value=trace["activity"]["value"] or "–", unit=trace["activity"]["unit"]),
        HEADINGS["revision"].say(
            lang, revision=trace["revision"], cause=_cause(trace["cause"], lang), at=trace["derived_at"]
        ),
    ]
    lines += [_quality_line(trace["quality_ms"], lang)] if _unmeasured(trace["quality_ms"]) else []
    lines += [HEADINGS["factors"].say(lang)] + [f"  {_factor_line(factor, lang)}" for factor in trace["factors"]]
    for point in trace["points"]:
        lines += _point_lines(point, lang)
    for meter, found in trace["instruments"].items():
        said = {"instrument": found["instrument"] or "–", "certificate": found["certificate"] or "–"}
        lines.append(HEADINGS["instrument"].say(lang, meter=meter, state=State(found["state"]).text, **said))
    lines += (
        [HEADINGS["flags"].say(lang)] + [f"  {flag_text(flag).say(lang)}" for flag in trace["flags"]]
        if trace["flags"]
        else []
    )
    return [line for line in lines if line is not None]


def _unmeasured(quality_ms: dict[str, int]) -> dict[str, int]:
    return {name: part for name, part in quality_ms.items() if name != "measured" and part}


def _quality_line(quality_ms: dict[str, int], lang: Lang) -> str:
    """Say which shares of the time were not measured."""
    length = sum(quality_ms.values())
    shares = ", ".join(
        f"{SHARES[name].say(lang)} {part / length:.1%}" for name, part in _unmeasured(quality_ms).items()
    )
    return HEADINGS["quality"].say(lang, shares=shares)


def _point_lines(point: dict[str, Any], lang: Lang) -> list[str]:
    said = {"point": point["point"], "unit": point["unit"], "multiplier": point["multiplier"]}
    if point["amounts"]:
        amounts = [f"  {one['from']} … {one['to']}: {one['value']} {point['unit']}" for one in point["amounts"]]
        return [HEADINGS["amounts"].say(lang, count=len(amounts), **said), *amounts]
    lines = [HEADINGS["point"].say(lang, count=point["readings"]["count"], **said)]
    for edge in ("start", "end"):
        knots = point[f"register_at_{edge}"]
        shown = "   ".join(f"{knot['value']} @ {knot['at']}" for knot in knots)
        between = f"  {INTERPOLATED.say(lang)}" if len(knots) > 1 else ""
        lines.append(f"  {EDGES[edge].say(lang)}: {shown or '–'}{between}")
    return lines


def _factor_line(factor: dict[str, Any], lang: Lang) -> str:
    if not factor["set"]:
        return DECLARED.say(lang, parameter=factor["parameter"], value=factor["value"])
    trust = TRUSTS.get(factor.get("trust", ""), Text("", "")).say(lang)
    return f"{factor['set']} {factor['version']} / {factor['row']}: {factor['value']}  [{factor.get('source', '')}; {trust}]"


def _cause(cause: str, lang: Lang) -> str:
    return CAUSES[cause].say(lang)


HEADINGS = {
    "emission": Text("排放量  {value} tCO2", "emission  {value} tCO2"),
    "activity": Text("活动数据  {value} {unit}", "activity  {value} {unit}"),
    "revision": Text("版本 {revision}（{cause}），推算于 {at}", "revision {revision} ({cause}), derived {at}"),
    "factors": Text("排放因子及出处", "factors and where they come from"),
    "point": Text(
        "测点 {point}（{unit}，倍率 {multiplier}），间隔内 {count} 条读数",
        "point {point} ({unit}, multiplier {multiplier}), {count} readings in the interval",
    ),
    "instrument": Text(
        "计量器具 {meter}：{instrument}，证书 {certificate}，当日状态 {state}",
        "instrument of {meter}: {instrument}, certificate {certificate}, state that day {state}",
    ),
    "amounts": Text(
        "测点 {point}（{unit}，倍率 {multiplier}），{count} 笔数量，按各自时段平均分摊",
        "point {point} ({unit}, multiplier {multiplier}), {count} amounts, each spread evenly over its time",
    ),
    "quality": Text("非实测的时间：{shares}", "time not measured: {shares}"),
    "flags": Text("标记", "flags"),
}
SHARES = {
    "apportioned": Text("分摊", "apportioned"),
    "substituted": Text("替代", "substituted"),
    "missing": Text("缺失", "missing"),
}
INTERPOLATED = Text("（边界处按时间内插）", "(interpolated in time at the edge)")
DECLARED = Text(
    "{parameter}：{value}  [本厂声明，ingester.yaml]", "{parameter}: {value}  [declared by the plant, ingester.yaml]"
)
EDGES = {"start": Text("间隔起点的读数", "readings at the start"), "end": Text("间隔终点的读数", "readings at the end")}
CAUSES = {
    "open": Text("进行中", "still running"),
    "closed": Text("首次结算", "closed"),
    "late": Text("迟到或更正的数据", "late or corrected data"),
    "changed": Text("因子、设置或证书变更", "a factor, setting or certificate changed"),
}
TRUSTS = {
    "V": Text("见于官方文本", "seen in the official text"),
    "V2": Text("见于转录，未与原文核对", "seen in a transcription, not compared with the original"),
    "RUN": Text("由程序计算", "computed"),
    "M": Text("凭记忆，未核对", "from memory, unverified"),
    "K": Text("来历不明", "origin unseen"),
}
