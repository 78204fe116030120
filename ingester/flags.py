"""What a flag on a figure means, in words."""

from calibration.effect import FLAG_TEXTS
from metering.register import RegisterEventKind
from metering.text import Text

TEXTS: dict[str, Text] = {
    **{str(flag): text for flag, text in FLAG_TEXTS.items()},
    RegisterEventKind.ROLLOVER.value: Text("表计翻转，已计入", "the register rolled over; counted"),
    RegisterEventKind.EXCHANGE.value: Text("期间换表，已衔接", "the meter was exchanged; joined"),
    RegisterEventKind.DIP.value: Text("读数短时回落，已剔除", "readings below the register for a while; refused"),
    RegisterEventKind.SPIKE.value: Text("读数短时突跳，已剔除", "readings far above the register for a while; refused"),
    RegisterEventKind.REFUSED.value: Text("有不可能的读数，已剔除", "impossible readings; refused"),
    RegisterEventKind.UNRESOLVED.value: Text(
        "读数下降，原因未判定；跨越部分未分配",
        "the register fell and nobody has judged why; what was counted across it is unassigned",
    ),
    RegisterEventKind.IMPLAUSIBLE.value: Text(
        "增速超过仪表最大值，已计入待核", "faster than the meter can count; booked, to be checked"
    ),
    "conflict": Text("同一时刻收到不同的值，取后到者", "different values for one time; the later received counts"),
    "overlapping_amounts": Text(
        "不同时段的数量有重叠，已相加待核", "amounts of different stretches overlap; added, to be checked"
    ),
    "simulated": Text("含模拟数据", "contains simulated data"),
    "no_factor": Text("该年份没有因子，只有活动数据", "no factor for that year; the activity alone is known"),
    "provisional_factor": Text("因子暂用较早年份", "the factor is of an earlier year, provisionally"),
    "unverified_factor": Text("因子未与原文核对", "the factor was not compared with the official text"),
}


def flag_text(flag: str) -> Text:
    """Return what a flag means; an unknown one says itself."""
    return TEXTS.get(flag, Text(flag, flag))
