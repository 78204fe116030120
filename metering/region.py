"""The regions a Chinese grid factor is published for, by every name a plant may call them."""

from metering.text import Text

NATIONAL = "national"

GRIDS = {
    "huabei": Text("华北", "North China grid"),
    "dongbei": Text("东北", "Northeast grid"),
    "huadong": Text("华东", "East China grid"),
    "huazhong": Text("华中", "Central China grid"),
    "xibei": Text("西北", "Northwest grid"),
    "nanfang": Text("南方", "China Southern grid"),
    "xinan": Text("西南", "Southwest grid"),
}

PROVINCES = {
    "beijing": Text("北京", "Beijing"), "tianjin": Text("天津", "Tianjin"), "hebei": Text("河北", "Hebei"),
    "shanxi": Text("山西", "Shanxi"), "neimenggu": Text("内蒙古", "Inner Mongolia"), "liaoning": Text("辽宁", "Liaoning"),
    "jilin": Text("吉林", "Jilin"), "heilongjiang": Text("黑龙江", "Heilongjiang"), "shanghai": Text("上海", "Shanghai"),
    "jiangsu": Text("江苏", "Jiangsu"), "zhejiang": Text("浙江", "Zhejiang"), "anhui": Text("安徽", "Anhui"),
    "fujian": Text("福建", "Fujian"), "jiangxi": Text("江西", "Jiangxi"), "shandong": Text("山东", "Shandong"),
    "henan": Text("河南", "Henan"), "hubei": Text("湖北", "Hubei"), "hunan": Text("湖南", "Hunan"),
    "guangdong": Text("广东", "Guangdong"), "guangxi": Text("广西", "Guangxi"), "hainan": Text("海南", "Hainan"),
    "chongqing": Text("重庆", "Chongqing"), "sichuan": Text("四川", "Sichuan"), "guizhou": Text("贵州", "Guizhou"),
    "yunnan": Text("云南", "Yunnan"), "shaanxi": Text("陕西", "Shaanxi"), "gansu": Text("甘肃", "Gansu"),
    "qinghai": Text("青海", "Qinghai"), "ningxia": Text("宁夏", "Ningxia"), "xinjiang": Text("新疆", "Xinjiang"),
    "xizang": Text("西藏", "Tibet"), "xianggang": Text("香港", "Hong Kong"), "aomen": Text("澳门", "Macao"),
    "taiwan": Text("台湾", "Taiwan"),
}  # fmt: skip
"""By pinyin. 山西 is `shanxi`, 陕西 is `shaanxi`, as on their own seals."""

NAMES = {NATIONAL: Text("全国", "national"), **GRIDS, **PROVINCES}

NEIGHBOURS = {
    "xizang": ("xinan", "qinghai", "sichuan", "yunnan", "xinjiang"),
    "xianggang": ("nanfang", "guangdong"),
    "aomen": ("nanfang", "guangdong"),
    "taiwan": ("huadong", "fujian"),
}
"""Regions near those the ministry publishes no factor for; a plant must choose one of them itself."""

_ENDINGS = (
    "维吾尔自治区", "壮族自治区", "回族自治区", "自治区", "特别行政区", "区域电网", "电网", "区域", "省", "市", "地区",
    "province", "grid", "region", "municipality", "sheng", "shi",
)  # fmt: skip
_OTHER_NAMES = {"": NATIONAL, "none": NATIONAL, "china": NATIONAL, "中国": NATIONAL, "全国平均": NATIONAL}


def _folded(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


_KEYS = {
    **{_folded(spelling): key for key, text in NAMES.items() for spelling in (key, text.zh, text.en)},
    **{_folded(text.en.removesuffix(" grid")): key for key, text in GRIDS.items()},
    **_OTHER_NAMES,
}


def region_key(name: str | None) -> str | None:
    """Return the key of a region named in Chinese, pinyin or English (`山东省`, `Shandong`, `华北`); None if unknown.

    No name at all means the nation.
    """
    folded = _folded(name or "")
    for ending in ("", *_ENDINGS):
        bare = folded.removesuffix(ending) if folded != ending else folded
        if bare in _KEYS:
            return _KEYS[bare]
    return None


def region_title(key: str) -> str:
    """Return `山东 (shandong)`."""
    return f"{NAMES[key].zh} ({key})" if key in NAMES else key
