"""What only the whole of `ingester.yaml` shows: names that lead nowhere, units that do not fit, energy counted twice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from metering.errors import FactorError, SettingsError, UnlikeUnits
from metering.expression import Expression
from metering.factor import FactorSet, region_rows
from metering.fields import FieldError
from metering.plausibility import NCV_DIMENSIONS, parameter_faults
from metering.quantity import Quantity, Unit, unit
from metering.text import Text
from settings.accounting import source_factor
from settings.document import Document
from settings.faults import nearest
from settings.meters import MeterSection, PointSection, per_time
from settings.rules import RuleSection
from settings.sources import ELECTRICITY, HEAT, ProductSection, SourceSection
from settings.syntax import Keys

VOLUME = unit("m3").dimensions


@dataclass(frozen=True)
class CrossCheck:
    """The sections of one site, checked against each other."""

    document: Document
    sets: Mapping[str, FactorSet]
    all_sets: bool
    """Every set could be loaded; else a name that is not among them may be right."""
    meters: Mapping[str, MeterSection]
    sources: Mapping[str, SourceSection]
    products: Mapping[str, ProductSection]
    rules: Mapping[str, RuleSection]

    def faults(self) -> list[SettingsError]:
        """Return all that does not fit together."""
        found: list[SettingsError] = []
        for name, source in self.sources.items():
            wrong = list(self._activity(("sources", name, "activity"), source.activity))
            unknown = list(self._set_names(name, source))
            found += [*wrong, *(unknown if self.all_sets else [])]
            unfit = [] if wrong else list(self._parameters(name, source)) + list(self._densities(name, source))
            found += unfit
            found += [] if wrong or unknown or unfit else self._factor(name, source)
        for name, product in self.products.items():
            found += self._activity(("products", name, "activity"), product.activity)
        for name, rule in self.rules.items():
            found += self._rule(("rules", name), rule)
        return [*found, *self._parts(), *self._counted_twice()]

    @property
    def _points(self) -> dict[str, PointSection]:
        return {f"{meter}/{name}": point for meter, held in self.meters.items() for name, point in held.points.items()}

    def _meter_of(self, point: str) -> MeterSection:
        return self.meters[point.split("/")[0]]

    def _activity(self, keys: Keys, activity: Expression) -> Iterator[SettingsError]:
        points = self._points
        first: Unit | None = None
        for name in activity.points:
            point = points.get(name)
            if point is None:
                yield self._unknown("point", name, points, keys)
                continue
            counted = point.counted_unit
            first = first or counted
            if point.role not in ("counter", "quantity"):
                yield self.document.fault(keys, _NOT_SUMMED, _SUMMED, point=name, role=point.role)
            if not counted.like(first):
                yield self.document.fault(keys, _UNLIKE, _ONE_UNIT, point=name, unit=counted, other=first)
            if self._meter_of(name).kind == "gas" and counted.dimensions == VOLUME and counted.reference is None:
                yield self.document.fault(keys, _UNCORRECTED, _REFERENCE, point=name, unit=counted)

    def _unknown(self, what: str, name: str, known: Mapping[str, object], keys: Keys) -> SettingsError:
        near = nearest(name, known)
        remedy = _DID_YOU_MEAN if near else _THERE_ARE
        values = {"name": name, "near": near, "known": ", ".join(known)}
        return self.document.fault(keys, _UNKNOWN[what], remedy, **values)

    def _set_names(self, name: str, source: SourceSection) -> Iterator[SettingsError]:
        given: dict[Keys, object] = {("factor_set",): source.factor_set}
        given |= {("parameters", key): getattr(source.parameters, key) for key in ("ncv", "cc", "of")}
        for path, named in given.items():
            if isinstance(named, str) and named not in self.sets:
                yield self._unknown("set", named, self.sets, ("sources", name, *path))

    def _factor(self, name: str, source: SourceSection) -> list[SettingsError]:
        """Try the source's factor; what does not answer or does not fit is a fault."""
        point = source.activity.points[0]
        counted, density = self._points[point].counted_unit, self._meter_of(point).density
        try:
            source_factor(source, counted, density, self.sets, self._year_with_a_factor(source))
        except UnlikeUnits as error:
            values = {"source": name, "counted": counted, **error.values}
            return [self.document.fault(("sources", name, "activity"), _NO_FIT, _fitting(source, counted), **values)]
        except FactorError as error:
            problem = Text("来源 {source}：" + error.sentence.zh, "source {source}: " + error.sentence.en)
            keys = ("sources", name, _concerned(source))
            return [self.document.fault(keys, problem, None, source=name, **error.values)]
        return []

    def _parameters(self, name: str, source: SourceSection) -> Iterator[SettingsError]:
        """The plant's own values, by the bounds that a row of a factor set is held to."""
        fuel, counted = source.fuel or "", self._points[source.activity.points[0]].counted_unit
        for key in ("ncv", "cc", "of"):
            value, keys = getattr(source.parameters, key), ("sources", name, "parameters", key)
            if not isinstance(value, Quantity):
                continue
            for text, values in parameter_faults(key, value):
                yield self.document.fault(keys, text, _COMPARE, **values)
            if key == "ncv" and value.unit.dimensions in NCV_DIMENSIONS:
                by_volume = value.unit.dimensions != unit("GJ/t").dimensions
                solid = counted.dimensions == unit("t").dimensions
                if by_volume and solid:
                    yield self.document.fault(keys, _NCV_NO_FIT, _NCV_PER_MASS, value=value, counted=counted, fuel=fuel)

    def _densities(self, name: str, source: SourceSection) -> Iterator[SettingsError]:
        """One factor stands for the whole of a source, so its meters share one density."""
        found = {str(self._meter_of(point).density): point for point in source.activity.points}
        if len(found) > 1:
            values = {"source": name, "densities": ", ".join(f"{point} {d}" for d, point in found.items())}
            yield self.document.fault(("sources", name, "activity"), _DENSITIES, _ONE_DENSITY, **values)

    def _year_with_a_factor(self, source: SourceSection) -> int:
        """Return the newest data year of the source's region; 0 where its factor knows no years."""
        if source.category not in ELECTRICITY or source.factor_set is None or source.parameters.ef is not None:
            return 0
        return max(row.data_year for row in region_rows(self.sets[source.factor_set], source.region, source.variant))

    def _rule(self, keys: Keys, rule: RuleSection) -> Iterator[SettingsError]:
        point = self._points.get(rule.point)
        if point is None:
            yield self._unknown("point", rule.point, self._points, (*keys, "point"))
        elif point.role not in ("counter", "gauge"):
            yield self.document.fault((*keys, "point"), _NO_RATE, _RATES, point=rule.point, role=point.role)
        elif rule.limit is not None and not _is_rate(rule.limit, point):
            wanted = point.unit if point.role == "gauge" else f"{point.unit}/h"
            yield self.document.fault((*keys, "limit"), _LIMIT, _IN_UNIT, limit=rule.limit, wanted=wanted)

    def _parts(self) -> Iterator[SettingsError]:
        for name, source in self.sources.items():
            if source.part_of is None:
                continue
            keys = ("sources", name, "part_of")
            whole = self.sources.get(source.part_of)
            if whole is None:
                yield self._unknown("source", source.part_of, self.sources, keys)
            elif name in self._wholes(name):
                yield self.document.fault(keys, _CIRCLE, None, source=name)
            elif whole.category != source.category:
                values = {"source": name, "category": source.category, "whole": source.part_of, "other": whole.category}
                yield self.document.fault(keys, _OTHER_CATEGORY, None, **values)

    def _wholes(self, name: str) -> list[str]:
        """Return what a source is part of, directly or not."""
        found: list[str] = []
        above = self.sources[name].part_of
        while above is not None and above in self.sources and above not in found:
            found.append(above)
            above = self.sources[above].part_of
        return found

    def _counted_twice(self) -> Iterator[SettingsError]:
        """A point enters the site's total once; a sub-meter's source is part of another."""
        seen: dict[tuple[int, str], str] = {}
        for name, source in self.sources.items():
            for term in source.activity.terms if source.part_of is None else ():
                first = seen.setdefault((term.sign, term.point), name)
                if first != name:
                    keys = ("sources", name, "activity")
                    yield self.document.fault(keys, _TWICE, _PART_OF, point=term.point, first=first, source=name)


def _is_rate(limit: Quantity, point: PointSection) -> bool:
    if point.role == "gauge":
        return unit(point.unit).like(limit.unit)
    try:
        per_time(limit, point.counted_unit)
    except FieldError:
        return False
    return True


def _concerned(source: SourceSection) -> str:
    """Return the key at which a missing factor is to be mended; the source itself stands for a key that is not there."""
    if source.category == "process":
        return "parameters"
    if source.factor_set is None:
        return "factor_set"
    if source.category in ELECTRICITY:
        return "method" if source.method.year else "region" if source.region else "factor_set"
    return "fuel" if source.category == "fuel_combustion" else "factor_set"


def _fitting(source: SourceSection, counted: Unit) -> Text:
    if source.category in ELECTRICITY:
        return _ENERGY
    if source.category in HEAT:
        return _HEAT
    if source.category == "fuel_combustion" and counted.dimensions == VOLUME:
        return _DENSITY
    return _MASS


_COMPARE = Text("请与化验报告核对数值和单位", "Compare value and unit with the laboratory's report")
_NCV_NO_FIT = Text(
    "参数 ncv（{value}）按体积给出，而活动数据以 {counted} 计",
    "the parameter ncv ({value}) is per volume, while the activity counts {counted}",
)
_NCV_PER_MASS = Text("请写成 GJ/t 一类", "Write it per mass, such as in GJ/t")
_DENSITIES = Text(
    "来源 {source} 的仪表密度不一：{densities}", "the meters of source {source} differ in density: {densities}"
)
_ONE_DENSITY = Text("请把密度不同的仪表分成不同的来源", "Make a source of each density")
_DID_YOU_MEAN = Text("是不是 {near}？", "Did you mean {near}?")
_THERE_ARE = Text("已定义：{known}", "Defined here: {known}")
_UNKNOWN = {
    "point": Text("没有测点 {name}", "there is no point {name}"),
    "set": Text("因子集 {name} 不在 factors 中", "the factor set {name} is not under factors"),
    "source": Text("没有来源 {name}", "there is no source {name}"),
}
_NOT_SUMMED = Text(
    "测点 {point} 的 role 是 {role}，不能作活动数据", "the point {point} is a {role}, which is no activity"
)
_SUMMED = Text("活动数据要用 counter 或 quantity 测点", "An activity needs points with role counter or quantity")
_UNLIKE = Text(
    "测点 {point} 以 {unit} 计，不能与 {other} 相加减",
    "the point {point} counts {unit}, which cannot be added to {other}",
)
_ONE_UNIT = Text("一个来源只用同类单位的测点", "Take points of one kind of unit")
_UNCORRECTED = Text(
    "测点 {point} 是未注明参比状态的气体体积（{unit}），不能作活动数据",
    "the point {point} is a gas volume without a reference state ({unit}), which is no activity",
)
_REFERENCE = Text(
    "若仪表读数已换算，请在该测点写 reference: 20 C（或 15 C、0 C）；未经换算的读数要先装体积修正仪",
    "If its register already counts at a reference state, write reference: 20 C (or 15 C, 0 C) at the point; a register of "
    "uncorrected volume needs a volume corrector first",
)
_NO_FIT = Text(
    "来源 {source} 的活动数据以 {counted} 计，与因子的单位不合（{unit} 与 {other}）",
    "source {source} counts {counted}, which does not fit its factor ({unit} and {other})",
)
_ENERGY = Text("电力来源要用 kWh、MWh 一类的电量测点", "Electricity needs a point in kWh, MWh or the like")
_HEAT = Text("热力来源要用 GJ、MJ、kWh 一类的热量测点", "Heat needs a point in GJ, MJ, kWh or the like")
_DENSITY = Text(
    "该燃料的因子按质量计：请在仪表写 density，例如 0.845 kg/L；气体请写 reference",
    "Its factor is per mass: write density at the meter, such as 0.845 kg/L; for a gas, write reference",
)
_MASS = Text("请换用单位相合的测点，例如 t 或 kg", "Take a point whose unit fits, such as t or kg")
_NO_RATE = Text("测点 {point} 的 role 是 {role}，没有速率", "the point {point} is a {role}, which has no rate")
_RATES = Text("规则要用 counter 或 gauge 测点", "A rule needs a point with role counter or gauge")
_LIMIT = Text("限值 {limit} 不是该测点的速率", "the limit {limit} is no rate of this point")
_IN_UNIT = Text("请用 {wanted}", "Write it in {wanted}")
_CIRCLE = Text("来源 {source} 成了自己的一部分", "source {source} is part of itself")
_OTHER_CATEGORY = Text(
    "来源 {source}（{category}）不能是 {whole}（{other}）的一部分：类别不同",
    "source {source} ({category}) cannot be part of {whole} ({other}): they differ in category",
)
_TWICE = Text(
    "测点 {point} 两次计入总量：来源 {first} 和 {source}",
    "the point {point} enters the total twice: in {first} and in {source}",
)
_PART_OF = Text(
    "若 {source} 只是 {first} 的明细，请写 part_of: {first}",
    "If {source} only breaks {first} down, write part_of: {first}",
)
