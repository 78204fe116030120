"""Every error of the house. Each carries what it concerns and a sentence in both languages.

MeteringError
├── SettingsError        a setting is wrong: file:line:column, value, remedy (exit 78)
├── SettingsFaults       all that is wrong in one file
├── QuantityError
│   ├── UnknownUnit      a unit that is not in the table
│   └── UnlikeUnits      quantities that cannot be converted or added
├── FactorError
│   └── UnknownFactor    no factor row answers for this fuel, region or year
├── MeterError           one meter could not be read; carries its cause for the gap event
│   ├── MeterUnreachable the line or connection cannot be opened, or was lost
│   ├── MeterSilent      no complete reply in time
│   ├── BadFrame         checksum, length, unit, function or transaction is wrong
│   └── MeterRefused     the meter answered with an exception
├── WireError
│   └── MalformedBatch   a message that is not a batch, status or receipt of ours
├── CertificateError     a certificate or instrument record that cannot be right
│   └── CertificateFaults all that is wrong in what was handed in
└── ServiceError         something this machine or another service must provide is not there
    ├── StoreBusy        another process holds the store
    ├── StoreFailed      the store could not read or write
    ├── LineBusy         the port or address is not ours to use
    ├── NotRunning       no service listens on the control socket
    └── BrokerUnreachable
"""

from typing import ClassVar

from metering.text import Lang, Text


class MeteringError(Exception):
    """The root: a sentence in both languages and the named values in it. A value may itself be a `Text`."""

    text: ClassVar[Text] = Text(zh="{what}", en="{what}")

    def __init__(self, text: Text | None = None, /, **values: object) -> None:
        self.sentence = text or self.text
        self.values = values
        super().__init__(self.say("en"))

    def say(self, lang: Lang) -> str:
        """Return the message for a person."""
        return self.sentence.say(lang, **self.values)


class SettingsError(MeteringError):
    """A setting is wrong. `problem` and `remedy` are in both languages.

    `place` is `file:line:column`, or the file alone where the file as a whole is meant.
    """

    def __init__(self, place: str, problem: Text, remedy: Text | None = None, /, **values: object) -> None:
        self.place = place
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem, **values)

    def say(self, lang: Lang) -> str:
        message = f"{self.place}: {self.problem.say(lang, **self.values)}"
        if self.remedy is None:
            return message
        stop = "。" if lang == "zh" else ". "
        return message + stop + self.remedy.say(lang, **self.values)


class SettingsFaults(MeteringError):
    """All that is wrong in one file, in the order of the file; never empty."""

    def __init__(self, faults: list[SettingsError]) -> None:
        self.faults = faults
        super().__init__(what="\n".join(str(fault) for fault in faults))

    def say(self, lang: Lang) -> str:
        return "\n".join(fault.say(lang) for fault in self.faults)


class QuantityError(MeteringError):
    """A number with a unit that cannot be used as asked."""


class UnknownUnit(QuantityError):
    text = Text(zh="未知单位 {unit}{hint}", en="unknown unit {unit}{hint}")


class UnlikeUnits(QuantityError):
    text = Text(zh="{unit} 与 {other} 不能换算或相加", en="{unit} and {other} cannot be converted or added")


class FactorError(MeteringError):
    """An emission factor that cannot be used."""


class UnknownFactor(FactorError):
    text = Text(zh="因子集 {set} 中没有 {key} 的因子{hint}", en="factor set {set} has no factor for {key}{hint}")


class MeterError(MeteringError):
    """One meter could not be read. `cause` is the word a gap event carries."""

    cause: ClassVar[str] = "error"
    text = Text(zh="{detail}", en="{detail}")

    def __init__(self, detail: str | Text = "") -> None:
        self.detail = detail.en if isinstance(detail, Text) else detail
        super().__init__(detail=detail)


class MeterUnreachable(MeterError):
    cause = "unreachable"
    text = Text(zh="无法连接：{detail}", en="unreachable: {detail}")


class MeterSilent(MeterError):
    cause = "timeout"
    text = Text(zh="没有应答：{detail}", en="no reply: {detail}")


class BadFrame(MeterError):
    cause = "bad_frame"
    text = Text(zh="报文错误：{detail}", en="bad frame: {detail}")


class MeterRefused(MeterError):
    """The meter answered with an exception; `code` is the protocol's own number."""

    cause = "exception"
    text = Text(zh="仪表拒绝：{detail}", en="refused by the meter: {detail}")

    def __init__(self, detail: str | Text = "", code: int = 0) -> None:
        self.code = code
        super().__init__(detail)


class WireError(MeteringError):
    """A message between agent and ingester that cannot be used."""


class MalformedBatch(WireError):
    text = Text(zh="报文不合格：{reason}", en="malformed message: {reason}")


class CertificateError(MeteringError):
    """An instrument or certificate record that cannot be right."""


class CertificateFaults(CertificateError):
    """All that is wrong in the records handed in, in their order; never empty."""

    def __init__(self, faults: list[CertificateError]) -> None:
        self.faults = faults
        super().__init__(what="\n".join(str(fault) for fault in faults))

    def say(self, lang: Lang) -> str:
        return "\n".join(fault.say(lang) for fault in self.faults)


class ServiceError(MeteringError):
    """Something this machine or another service must provide is not there."""


class StoreBusy(ServiceError):
    text = Text(
        zh="{path} 正被进程 {pid} 使用。请先停止它，或在它运行时使用命令行",
        en="{path} is in use by process {pid}. Stop it first, or ask it while it runs",
    )


class StoreFailed(ServiceError):
    text = Text(zh="存储 {path} 出错：{reason}", en="store {path} failed: {reason}")


class LineBusy(ServiceError):
    text = Text(zh="{name} 不可用：{reason}", en="{name} cannot be used: {reason}")


class NotRunning(ServiceError):
    text = Text(zh="服务没有运行（{path} 无人监听）", en="the service is not running (nothing listens on {path})")


class BrokerUnreachable(ServiceError):
    text = Text(zh="无法连接消息代理 {url}：{reason}", en="cannot reach the broker {url}: {reason}")
