"""What an exception reply means, and what to do about it. Modbus application protocol V1.1b3, section 7."""

from metering.errors import MeterRefused
from metering.text import Text

EXCEPTIONS = {
    1: (Text("非法功能码", "illegal function"),
        Text("型号里的 fc 换成 3 或 4 试试", "try fc 3 or 4 in the profile")),
    2: (Text("非法数据地址", "illegal data address"),
        Text("核对型号和地址（从零算起），或把 limits.gap 设为 0", "check model and address (counted from zero), or set limits.gap to 0")),
    3: (Text("非法数据值", "illegal data value"),
        Text("一次读得太多：减小 limits.max_registers", "it takes less in one request: lower limits.max_registers")),
    4: (Text("从站设备故障", "device failure"),
        Text("查看仪表自身的故障显示", "look at the device's own fault display")),
    5: (Text("已受理，处理中", "acknowledged, still working"),
        Text("加大读取间隔", "read less often")),
    6: (Text("从站设备忙", "device busy"),
        Text("加大读取间隔或 turnaround", "read less often, or raise turnaround")),
    7: (Text("否定确认", "negative acknowledge"),
        Text("仪表不提供此数据，请从型号中去掉", "it does not give this: leave the point out")),
    8: (Text("存储奇偶校验错误", "memory parity error"),
        Text("仪表存储器损坏，请送修", "the device's memory is damaged: have it repaired")),
    10: (Text("网关路径不可用", "gateway path unavailable"),
         Text("检查网关的串口设置和站号映射", "check the gateway's serial settings and unit table")),
    11: (Text("网关目标设备无应答", "gateway target failed to respond"),
         Text("检查仪表供电、接线、站号和波特率", "check the meter's power, wiring, unit number and baud")),
}  # fmt: skip
_UNKNOWN = (Text("标准中没有定义", "not defined by the standard"),
            Text("查仪表手册", "see the maker's manual"))  # fmt: skip


def refused(code: int, next_step: Text | None = None) -> MeterRefused:
    """Return the error for an exception code: its name and the next step, which is the table's where none is given."""
    name, step = EXCEPTIONS.get(code, _UNKNOWN)
    step = next_step or step
    return MeterRefused(
        Text(f"异常码 {code}（{name.zh}），{step.zh}", f"exception {code} ({name.en}): {step.en}"), code
    )
