"""`tanbiao profile …`: the meter models there are, what one knows of its meter, and whether a file is right."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from metering.text import Lang, Text
from tanbiao.catalogue_cli import table
from tanbiao.speech import LANG, fail, print_json, say, tell

if TYPE_CHECKING:
    from metering.profile import Bilingual, Place, Profile
    from tanbiao.profile_check import Checked, Expectation, Replayed

app = typer.Typer(no_args_is_help=True, help=say("仪表型号", "Meter profiles."))
JSON = typer.Option(False, "--json", help=say("输出 JSON", "Print JSON."))
WRONG_CONFIGURATION = 78

KINDS = {
    "electricity": Text("电", "electricity"), "gas": Text("燃气", "gas"), "fuel": Text("燃油", "fuel"), "heat": Text("热", "heat"),
    "steam": Text("蒸汽", "steam"), "water": Text("水", "water"), "production": Text("产量", "production"),
}  # fmt: skip
STATUSES = {
    "verified": Text("已在实物上核对", "read on such a meter"),
    "manual": Text("据厂家资料", "from the maker's pages"),
    "repo": Text("据公开程序", "from public programs"),
    "unverified": Text("均无，仅供起步", "neither, a place to start"),
}

STANDING = (
    Text("资料未写何时回零", "rollover not documented"),
    Text("回零作减小待判", "rollover is a fall to judge"),
    Text("回零值随所发单位而定", "rollover depends on the unit sent"),
    Text("向量按资料拼成，非截获报文", "the vector is composed"),
    Text("各向量按资料拼成，非截获报文", "the vectors are composed"),
    Text("地址即报文里的地址", "addresses as on the wire"),
)
"""What many profiles say in the same words; the rest of a `doc` or `note` is the document's own language."""


def attach(main: typer.Typer) -> None:
    main.add_typer(app, name="profile")


@app.command("list", help=say("列出仪表型号及其可信程度", "List the meter models and how far each is to be trusted."))
def list_(
    text: str = typer.Argument("", help=say("厂家、型号或名称中的文字", "Text of the maker, the model or the name.")),
    kind: str = typer.Option("", help=say("类别，如 electricity、gas", "Kind, such as electricity or gas.")),
    protocol: str = typer.Option("", help=say("协议，如 modbus", "Protocol, such as modbus.")),
    markdown: bool = typer.Option(
        False, "--markdown", help=say("输出文档用的表格", "Print the table of docs/profiles.md.")
    ),
    json: bool = JSON,
) -> None:
    found = [(name, model) for name, model in _catalogue() if matches(name, model, text, kind, protocol)]
    if json:
        print_json([_entry(name, model) for name, model in found])
    elif markdown:
        print("\n".join(markdown_rows(found)))
    else:
        columns = [
            say("型号文件", "profile"), say("厂家与型号~", "maker and model~"), say("类别", "kind"), say("协议", "protocol"),
            say("测点>", "points>"), say("可信", "trust"),
        ]  # fmt: skip
        rows = [
            [
                name,
                f"{_maker(model)} {model.model}",
                KINDS[model.kind].say(LANG),
                model.protocol,
                len(model.points),
                model.status,
            ]
            for name, model in found
        ]
        table(columns, rows)
        print(say("{n} 个型号。可信程度：", "{n} models. How far to trust them:", n=len(found)))
        for word, meaning in STATUSES.items():
            print(f"  {word:<10}  {meaning.say(LANG)}")
    if not found:
        fail(say("没有符合的型号", "no model matches"))
        raise typer.Exit(1)


def _catalogue() -> list[tuple[str, "Profile"]]:
    from settings.profiles import list_profiles, load_profile

    return [(name, load_profile(name)) for name in list_profiles()]


def matches(name: str, model: "Profile", text: str = "", kind: str = "", protocol: str = "") -> bool:
    """Return whether a model is looked for: by words of its names in either language, its kind, its protocol."""
    names = [name, *_both(model.vendor), model.model, *model.also]
    kinds = (model.kind, KINDS[model.kind].zh)
    return (
        all(any(word in each.casefold() for each in names) for word in text.casefold().split())
        and (not kind or kind in kinds)
        and (not protocol or protocol == model.protocol)
    )


def _both(vendor: "str | Bilingual") -> tuple[str, ...]:
    return (vendor,) if isinstance(vendor, str) else (vendor.zh, vendor.en)


def _maker(model: "Profile") -> str:
    return model.vendor if isinstance(model.vendor, str) else model.vendor.text.say(LANG)


def _title(model: "Profile") -> str:
    return ", ".join([f"{_maker(model)} {model.model}", *model.also])


def _entry(name: str, model: "Profile") -> dict[str, Any]:
    return {
        "id": name, "vendor": _both(model.vendor)[-1], "model": model.model, "also": model.also, "kind": model.kind,
        "protocol": model.protocol, "points": len(model.points), "variants": list(model.variants), "side": model.side,
        "status": model.status, "source": model.source.title,
    }  # fmt: skip


def markdown_rows(found: Iterable[tuple[str, "Profile"]]) -> list[str]:
    """Return the rows of the table of shipped models in docs/profiles.md; maker and model in English, for both pages."""
    return [
        f"| `{name}` | {', '.join([f'{_both(model.vendor)[-1]} {model.model}', *model.also])} | {model.kind} "
        f"| {model.protocol} | {', '.join(model.variants) or '–'} | {model.status} |"
        for name, model in found
    ]


@app.command(
    "show", help=say("显示一个型号：测点、型式、来源", "Show a model: points, editions, where it is known from.")
)
def show(name: str, json: bool = JSON) -> None:
    from settings.profiles import load_profile

    model = load_profile(name)
    if json:
        print_json(model.model_dump(mode="json", exclude_unset=True))
        return
    print(f"{name}  {_title(model)}")
    print(f"{KINDS[model.kind].say(LANG)}, {model.protocol}, {STATUSES[model.status].say(LANG)}")
    _facts(model)
    table(
        [say("测点", "point"), say("地址>", "address>"), say("类型", "type"), say("倍率>", "scale>"), say("单位", "unit"),
         say("角色", "role"), say("说明~", "notes~")],
        [[point, _address(at.address), at.type or model.defaults.type, _scale(at), at.unit, at.role, noted(at.doc)]
         for point, at in model.points.items()],
    )  # fmt: skip
    for edition, variant in model.variants.items():
        print(say("型式 {id}：{name}", "variant {id}: {name}", id=edition, name=variant.name.text.say(LANG)))
        print(f"  {say('识别', 'told by')}: {', '.join(_probe(at, probe) for at, probe in variant.probe.items())}")
        if variant.points:
            print(f"  {say('不同的测点', 'points that differ')}: {', '.join(variant.points)}")
    for caveat in model.caveats:
        print(f"! {caveat.text.say(LANG)}")


def _facts(model: "Profile") -> None:
    page = "" if model.source.page is None else say("，第 {page} 页/节", ", page {page}", page=model.source.page)
    print(f"{say('来源', 'source')}: {model.source.title}{page}")
    if model.source.note:
        print(f"  {noted(model.source.note)}")
    if model.line:
        print(f"{say('线路默认', 'line defaults')}: {', '.join(f'{key} {value}' for key, value in model.line.items())}")
    if model.side is not None:
        sides = {"primary": Text("一次侧（已含变比）", "primary (ratios applied)"),
                 "secondary": Text("二次侧（变比写在中心端 multiplier）", "secondary (the ratio is the centre's multiplier)")}  # fmt: skip
        print(f"{say('互感器', 'transformers')}: {sides[model.side].say(LANG)}")
    if model.identity:
        held = ", ".join(f"{key} {_address(place.address)}" for key, place in model.identity.items())
        print(f"{say('身份', 'identity')}: {held}")
    if model.probe:
        print(f"{say('探测', 'probe')}: {', '.join(_probe(at, probe) for at, probe in model.probe.items())}")


def noted(text: str, lang: Lang = LANG) -> str:
    """Return a note with what many profiles say in the same words in the reader's language."""
    for words in STANDING:
        text = text.replace(words.en, words.say(lang))
    return text


def _probe(at: str, probe: Any) -> str:
    if probe.absent:
        return say("{at} {where} 被拒绝", "{at} {where} is refused", at=at, where=_address(probe.address))
    if probe.within is not None:
        wanted = say("在 {low} 到 {high}", "from {low} to {high}", low=probe.within[0], high=probe.within[1])
    else:
        wanted = say("为 {values}", "is {values}", values="|".join(str(each) for each in probe.among))
    return f"{at} {_address(probe.address)} {wanted}"


def _scale(place: "Place") -> str:
    parts = [] if place.scale == 1 else [f"{place.scale:f}"]
    for of in place.scale_from:
        word = say("单位按", "unit by") if of.units else say("幂次按", "power by")
        parts.append(f"{word} {of.address}")
    parts += [f"+ {part.address}" for part in place.plus]
    return " ".join(parts)


def _address(address: int | str) -> str:
    return str(address) if isinstance(address, str) else f"{address} 0x{address:04X}"


@app.command("test", help=say(
    "检查型号文件：写法、驱动能否读、向量是否得到应得的值；不写名称则检查全部",
    "Check a profile: its form, whether its driver can read it, whether its vectors give what they promise. Without a name, all.",
))  # fmt: skip
def check_(
    name: str = typer.Argument("", metavar="[FILE|ID]", help=say("文件（*.yaml）或型号", "File (*.yaml) or profile.")),
    json: bool = JSON,
) -> None:
    from metering.errors import MeteringError, SettingsFaults
    from settings.profiles import list_profiles
    from tanbiao.profile_check import check

    faults: list[str] = []
    untested: list[str] = []
    checked: dict[str, Checked] = {}
    for each in [name] if name else list_profiles():
        try:
            checked[each] = check(each)
        except SettingsFaults as error:
            faults += [tell(fault) for fault in error.faults]
        except MeteringError as error:
            untested.append(f"{each}: {tell(error)}")
    if json:
        print_json(
            {
                "faults": faults,
                "untested": untested,
                "profiles": [_answer(each, found) for each, found in checked.items()],
            }
        )
    else:
        for each, found in checked.items():
            _print(each, found, whole=bool(name))
        for problem in [*untested, *faults]:
            fail(problem)
        if not faults:
            _conclude(checked.values())
    if faults:
        raise typer.Exit(WRONG_CONFIGURATION)
    if untested or not all(found.good for found in checked.values()):
        raise typer.Exit(1)


def _print(name: str, found: "Checked", *, whole: bool) -> None:
    """Print one profile; of many, only what is not well."""
    if whole:
        model = found.profile
        print(say("{name}：{title}，{protocol}，{n} 个测点", "{name}: {title}, {protocol}, {n} points",
                  name=name, title=_title(model), protocol=model.protocol, n=len(model.points)))  # fmt: skip
    for warning in found.warnings:
        print(f"{say('注意', 'warning')}: {tell(warning)}")
    for number, vector in enumerate(found.vectors, 1):
        if whole or not vector.good:
            _print_vector(number, vector)
    if whole and found.unread:
        print(say("不在任何向量里：{points}", "in no vector: {points}", points=", ".join(found.unread)))


def _print_vector(number: int, vector: "Replayed") -> None:
    edition = "" if vector.variant is None else say("（型式 {id}）", " (variant {id})", id=vector.variant)
    head = say("向量 {n}{edition}", "vector {n}{edition}", n=number, edition=edition)
    if vector.error is not None:
        print(f"{vector.place}: {head}: {say('被拒绝', 'refused')}: {tell(vector.error)}")
        return
    print(f"{head}: {say('相符', 'good') if vector.good else say('不符', 'does not agree')}")
    for expectation in vector.expectations:
        print(_sentence(expectation))


def _sentence(expectation: "Expectation") -> str:
    if expectation.met:
        return f"  {expectation.point} = {_value(expectation.came)}"
    came = (
        _value(expectation.came)
        if expectation.covered
        else say("没有（字节不含此测点）", "none (the bytes do not hold it)")
    )
    hint = "" if expectation.hint is None else say("。{hint}", ". {hint}", hint=tell(expectation.hint))
    return say("  {place}：{point} 应为 {expected}，得到 {came}{hint}", "  {place}: {point} should be {expected}, came {came}{hint}",
               place=expectation.place, point=expectation.point, expected=_value(expectation.expected), came=came,
               hint=hint)  # fmt: skip


def _value(value: float | str | None) -> str:
    if value is None:
        return say("无值", "no value")
    return value if isinstance(value, str) else f"{value:.15g}"


def _conclude(checked: Iterable["Checked"]) -> None:
    every = list(checked)
    vectors = [vector for found in every for vector in found.vectors]
    bad = sum(not vector.good for vector in vectors)
    print(say("{n} 个型号，{v} 条向量，{bad} 条不符，{w} 处注意", "{n} profiles, {v} vectors, {bad} do not agree, {w} warnings",
              n=len(every), v=len(vectors), bad=bad, w=sum(len(found.warnings) for found in every)))  # fmt: skip


def _answer(name: str, found: "Checked") -> dict[str, Any]:
    return {
        "id": name, "good": found.good, "warnings": [tell(warning) for warning in found.warnings],
        "unread": found.unread,
        "vectors": [
            {
                "place": vector.place, "variant": vector.variant, "good": vector.good,
                "error": None if vector.error is None else tell(vector.error),
                "points": [
                    {"point": each.point, "expected": each.expected, "came": each.came, "good": each.met,
                     "hint": None if each.hint is None else tell(each.hint)}
                    for each in vector.expectations
                ],
            }
            for vector in found.vectors
        ],
    }  # fmt: skip


@app.command("schema", help=say("输出型号文件的 JSON Schema", "Print the JSON Schema of a profile, for editors."))
def schema() -> None:
    from tanbiao.profile_schema import profile_schema

    print_json(profile_schema())
