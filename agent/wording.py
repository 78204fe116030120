"""What the technician's commands say, in both languages, at 100 columns."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from unicodedata import east_asian_width

from agent.forecast import LineForecast
from metering.text import Text

COLUMNS = 100


def line_plan(line: LineForecast) -> list[Text]:
    at = f"{line.driver}, {line.where}" + (f", {line.speed}" if line.speed else "")
    texts = [
        Text(f"线路 {line.line}（{at}）", f"line {line.line} ({at})"),
        Text(
            f"  读一遍约 {line.cycle_s:.2f} s，最短间隔 {line.shortest_interval_s:g} s，占用 {line.load:.0%}",
            f"  about {line.cycle_s:.2f} s a cycle, shortest interval {line.shortest_interval_s:g} s,"
            f" {line.load:.0%} busy",
        ),
    ]
    if line.load > 1:
        texts.append(too_slow(line))
    for meter in line.meters:
        many = "" if len(meter.requests) == 1 else "s"
        texts.append(
            Text(
                f"  {meter.meter}：每 {meter.interval_s:g} s，{len(meter.requests)} 个请求，{meter.takes_s:.3f} s",
                f"  {meter.meter}: every {meter.interval_s:g} s, {len(meter.requests)} request{many},"
                f" {meter.takes_s:.3f} s",
            )
        )
        texts += [
            Text(f"{request.takes_s:12.3f} s  {request.label.zh}", f"{request.takes_s:12.3f} s  {request.label.en}")
            for request in meter.requests
        ]
    return [Text(fold(text.zh), fold(text.en)) for text in texts]


_LOSERS = 8
"""Meters that are named of a line that is too slow."""


def too_slow(line: LineForecast) -> Text:
    losing = sorted(line.losing().items(), key=lambda found: -found[1])
    zh = "、".join(f"{meter}（{share:.0%}）" for meter, share in losing[:_LOSERS])
    en = ", ".join(f"{meter} ({share:.0%})" for meter, share in losing[:_LOSERS])
    more = len(losing) - _LOSERS
    if more > 0:
        zh, en = f"{zh}等 {len(losing)} 块", f"{en} and {more} more"
    baud = Text("提高波特率、", "a higher baud rate, ") if line.speed else Text("", "")
    return Text(
        f"  警告：线路 {line.line} 读一遍要 {line.cycle_s:.1f} s，间隔只有 {line.shortest_interval_s:g} s：会漏读 {zh}。"
        f"办法：间隔加长到 {line.load:.1f} 倍、减少测点、{baud.zh}或另设一条线路",
        f"  warning: line {line.line} needs {line.cycle_s:.1f} s for a {line.shortest_interval_s:g} s cycle:"
        f" readings will be lost of {en}. Remedies: intervals {line.load:.1f} times as long, fewer points, {baud.en}"
        "or a second line",
    )


def resettable(point: str) -> Text:
    return Text(
        f"  警告：{point} 可清零却作累计量：清零会被当作待判的减小；有不可清零的总量时请改用",
        f"  warning: {point} can be reset and is a counter: a reset shows as a fall to judge; take the meter's total if it has one",
    )


def told(found: Any) -> Text:
    """Return what a status says of something: in both languages, or in the words it came in."""
    return Text(found["zh"], found["en"]) if isinstance(found, Mapping) else Text(str(found), str(found))


def health(data: Mapping[str, Any]) -> list[Text]:
    """Return what the status of a running agent says."""
    return [
        _connection(data),
        _outbox(data),
        *(Text(f"警报：{alarm.zh}", f"alarm: {alarm.en}") for alarm in map(told, data["alarms"])),
        *(_line_health(name, line) for name, line in data["lines"].items()),
        *(text for name, meter in data["meters"].items() for text in _meter_health(name, meter)),
    ]


def _connection(data: Mapping[str, Any]) -> Text:
    if not data["connected"]:
        return _not_connected(re.sub(r"^cannot reach the broker \S+: ", "", data.get("broker_problem", "")))
    if data["silent_since"]:
        since = clock(data["silent_since"])
        return Text(
            f"已连接消息代理；中心端自 {since} 起没有回执", f"connected; no receipt from the ingester since {since}"
        )
    if not data["receipted"]:
        return Text("已连接消息代理，尚无中心端回执", "connected to the broker; no receipt from the ingester yet")
    return Text("已连接消息代理，中心端有回执", "connected to the broker; the ingester answers")


def _outbox(data: Mapping[str, Any]) -> Text:
    waiting, size, eta_s = data["unreceipted"], f"{data['outbox_bytes'] / 1e6:.1f} MB", data.get("backlog_eta_s")
    through = Text("", "")
    if eta_s:
        minutes, seconds = divmod(eta_s, 60)
        through = Text(f"，约 {minutes} 分 {seconds:02} 秒送完", f", through in about {minutes} min {seconds:02} s")
    return Text(
        f"发件箱：{waiting} 批待回执，{size}{through.zh}",
        f"outbox: {waiting} batches without receipt, {size}{through.en}",
    )


def _not_connected(why: str) -> Text:
    """Return that the broker is not reached, why, and the next step."""
    known = next((text for word, text in _BROKER_STEPS.items() if word in why.lower()), None)
    if known is None:
        said = f": {why}" if why else ""
        return Text(f"未连接消息代理{said}", f"not connected to the broker{said}")
    return Text(f"未连接消息代理：{known.zh}", f"not connected to the broker: {why}; {known.en}")


_ADMISSION = Text("用户名或密码被拒绝：检查 mqtt.username 和 mqtt.password，以及代理上该用户的权限",
                  "check mqtt.username and mqtt.password, and what the broker permits this user")  # fmt: skip
_NAME = Text(
    "主机名无法解析：检查 mqtt.url 中的主机名，或直接写 IP 地址",
    "check the host name in mqtt.url, or write its IP address",
)
_NETWORK = Text(
    "没有应答：检查 mqtt.url 中的地址、网络和防火墙", "check the address in mqtt.url, the network and the firewall"
)
_BROKER_STEPS = {
    "connection refused": Text("连接被拒绝：检查 mqtt.url 中的地址和端口，以及代理是否在运行",
                               "check address and port in mqtt.url, and whether the broker runs"),
    "not authori": _ADMISSION,
    "user name or password": _ADMISSION,
    "name or service not known": _NAME,
    "name resolution": _NAME,
    "nodename": _NAME,
    "certificate": Text("证书不被信任：检查 mqtt.ca、证书中的主机名和本机时钟",
                        "check mqtt.ca, the name in the broker's certificate and the clock of this machine"),
    "ssl": Text("TLS 握手失败：该端口可能不用 TLS，检查 mqtts:// 和端口", "perhaps that port has no TLS: check mqtts:// and the port"),
    "timed out": _NETWORK,
    "unreachable": _NETWORK,
    "no route": _NETWORK,
    "no connack": Text("没有 MQTT 应答：该端口上可能不是 MQTT", "perhaps that port is not MQTT: check the port"),
}  # fmt: skip
"""What a reason for a broker not reached asks for."""


def _line_health(name: str, line: Mapping[str, Any]) -> Text:
    used = f"{line.get('utilisation', 0):.0%}"
    cycle, opened, overruns = f"{line.get('cycle_s', 0):.2f} s", line.get("opened", 0), line.get("overruns", 0)
    why = told(line.get("said") or line.get("problem") or "")
    problem = Text(f"：{why.zh}", f": {why.en}") if why.en else why
    anew = line.get("resubscribed", 0)
    again = Text(f"，订阅重建 {anew} 次", f", {anew} subscriptions built anew") if anew else Text("", "")
    return Text(
        f"线路 {name}：{'已打开' if line['state'] == 'open' else '未打开'}，占用 {used}，读一遍 {cycle}，"
        f"打开过 {opened} 次，来不及 {overruns} 次，过期报文 {line.get('stale_frames', 0)}{again.zh}{problem.zh}",
        f"line {name}: {line['state']}, {used} busy, {cycle} a cycle, opened {opened} times, {overruns} overruns,"
        f" {line.get('stale_frames', 0)} stale frames{again.en}{problem.en}",
    )


def _meter_health(name: str, meter: Mapping[str, Any]) -> list[Text]:
    """Return what a meter's status says: how it is, its counts, and what was found out about it."""
    texts = [_meter(name, meter)]
    if slots := meter.get("slots"):
        texts.append(_slots(slots))
    texts.append(_counts(meter))
    if meter.get("identity") or meter.get("variant"):
        found = ({"variant": meter["variant"]} if meter.get("variant") else {}) | meter.get("identity", {})
        said = ", ".join(f"{key} {value}" for key, value in found.items())
        texts.append(Text(f"    {said}", f"    {said}"))
    if meter.get("replaced"):
        before, now = meter["replaced"]
        texts.append(
            Text(
                f"    表号由 {before} 变为 {now}：换表了吗？",
                f"    serial number was {before}, is {now}: meter replaced?",
            )
        )
    if meter.get("unlike"):
        zh, en = meter["unlike"]["zh"], meter["unlike"]["en"]
        texts.append(Text(f"    警告：{zh}", f"    warning: {en}"))
    for point, found in meter.get("forbidden", {}).items():
        why = told(found)
        texts.append(
            Text(
                f"    {point} 被仪表拒绝，不再询问：{why.zh}", f"    {point} is refused, no longer asked for: {why.en}"
            )
        )
    return [Text(fold(text.zh), fold(text.en)) for text in texts]


def _slots(slots: Mapping[str, Any]) -> Text:
    """Return "59 of 60" of this hour and since the agent counts, with the causes."""
    hour, since = slots["hour"], clock(slots["from"])
    now, whole = _of(hour), _of(slots)
    return Text(f"    本小时{now.zh}；自 {since} 起{whole.zh}", f"    this hour {now.en}; since {since} {whole.en}")


def _of(slots: Mapping[str, Any]) -> Text:
    there, expected = slots["read"] + slots["backfilled"], slots["expected"]
    causes = [(_CAUSES.get(cause, Text(cause, cause.replace("_", " "))), n) for cause, n in slots["missed"].items()]
    if slots["backfilled"]:
        causes.append((_KEPT["backfilled"], slots["backfilled"]))
    zh, en = "、".join(f"{word.zh} {n}" for word, n in causes), ", ".join(f"{word.en} {n}" for word, n in causes)
    return Text(
        f"应读 {expected} 次，已读 {there} 次" + (f"（{zh}）" if zh else ""),
        f"{there} of {expected}" + (f" ({en})" if en else ""),
    )


def _counts(meter: Mapping[str, Any]) -> Text:
    """Return what came of a meter's exchanges, leaving out what never happened."""
    counts = [(_OK, meter.get("ok", 0))]
    counts += [(_CAUSES.get(cause, Text(cause, cause)), count) for cause, count in meter.get("failures", {}).items()]
    counts += [(Text(f"异常码 {code}", f"exception {code}"), n) for code, n in meter.get("exceptions", {}).items()]
    counts += [(word, meter[key]) for key, word in _KEPT.items() if meter.get(key)]
    trip = meter.get("round_trip_ms")
    took = [] if not trip else [f"p50 {trip[0]:g} ms, p95 {trip[1]:g} ms"]
    return Text(
        "    " + "；".join([*(f"{word.zh} {count}" for word, count in counts), *took]),
        "    " + "; ".join([*(f"{word.en} {count}" for word, count in counts), *took]),
    )


_OK = Text("成功", "ok")
_CAUSES = {
    "timeout": Text("超时", "timeout"),
    "bad_frame": Text("错误报文", "bad frame"),
    "exception": Text("拒绝", "refused"),
    "unreachable": Text("不可达", "unreachable"),
    "variant": Text("型式不明", "unknown variant"),
    "error": Text("驱动故障", "driver fault"),
    "breaker": Text("暂停探询", "paused, probing"),
    "overrun": Text("来不及轮询", "line too slow"),
    "line_busy": Text("总线被占用", "line in use"),
    "no_room": Text("无处存放", "no room"),
    "starting": Text("线路启动", "line starting"),
    "stopped": Text("采集端停止", "agent stopped"),
    "crashed": Text("采集端崩溃", "agent crashed"),
    "power_loss": Text("断电", "power loss"),
    "clock": Text("时钟被调整", "clock set"),
}
_KEPT = {
    "stale": Text("过期报文", "stale frames"),
    "retries": Text("重发", "retries"),
    "reread": Text("跳变复读", "jumps read again"),
    "disbelieved": Text("不采信", "disbelieved"),
    "backfilled": Text("补录", "backfilled"),
}


def _meter(name: str, meter: Mapping[str, Any]) -> Text:
    missed = sum(meter["missed"].values())
    counts = f"{meter['read']}/{meter['expected']}"
    if meter["state"] == "silent":
        since, why = clock(meter["since"]), told(meter.get("said") or meter["detail"])
        return Text(
            f"  {name} 自 {since} 起没有读数：{why.zh}（{counts}，缺 {missed}）",
            f"  {name} silent since {since}: {why.en} ({counts} read, {missed} missed)",
        )
    last = clock(meter["last_good"]) if meter["last_good"] else "-"
    wrong = [_points(meter[key], words) for key, words in _TROUBLES.items() if meter.get(key)]
    if wrong:
        return Text(
            f"  {name} 有{'；有'.join(text.zh for text in wrong)}；最近 {last}（{counts}，缺 {missed}）",
            f"  {name} problem: {'; '.join(text.en for text in wrong)}; last {last} ({counts} read, {missed} missed)",
        )
    return Text(
        f"  {name} {'正常' if meter['state'] == 'ok' else '启动中'}，最近 {last}（{counts}，缺 {missed}）",
        f"  {name} {meter['state']}, last {last} ({counts} read, {missed} missed)",
    )


_TROUBLES = {"no_value": Text("没有值", "without value"), "doubtful": Text("存疑", "in doubt")}


def _points(found: Mapping[str, Any], words: Text) -> Text:
    whys = {point: told(why) for point, why in found["points"].items()}
    zh = "、".join(f"{point}（{why.zh}）" for point, why in whys.items())
    en = ", ".join(f"{point} ({why.en})" for point, why in whys.items())
    more = Text("等", ", …") if found["count"] > len(whys) else Text("", "")
    noun = "point" if found["count"] == 1 else "points"
    return Text(
        f" {found['count']} 个测点{words.zh}：{zh}{more.zh}", f"{found['count']} {noun} {words.en}: {en}{more.en}"
    )


def clock(ms: int) -> str:
    """Return a time as the clock on the wall shows it, with its offset from UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().isoformat(" ", "seconds")


def lines(texts: Sequence[Text]) -> Text:
    return Text("\n".join(text.zh for text in texts), "\n".join(text.en for text in texts))


def fold(line: str, columns: int = COLUMNS) -> str:
    """Return a line in rows of at most `columns`, a Chinese character counting two, each row indented as the first."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    rows, width = [""], 0
    for word in re.findall(r"\s*[^\s\u3000-\uffef]+|\s*[\u3000-\uffef]", line):
        wide = sum(2 if east_asian_width(char) in "WF" else 1 for char in word)
        if width + wide > columns and rows[-1].strip():
            word = indent + word.lstrip()
            wide = sum(2 if east_asian_width(char) in "WF" else 1 for char in word)
            rows.append("")
            width = 0
        rows[-1] += word
        width += wide
    return "\n".join(rows)
