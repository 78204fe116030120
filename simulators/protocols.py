"""Which protocol's types a profile has."""

from metering.profile import Profile
from simulators.cjt188_types import cjt188_form
from simulators.dlt645_types import dlt645_form
from simulators.forms import Form, FormOf
from simulators.iec62056_types import iec62056_form
from simulators.mbus_types import mbus_form
from simulators.modbus_types import modbus_forms

_FORMS: dict[str, FormOf] = {"dlt645": dlt645_form, "cjt188": cjt188_form, "mbus": mbus_form, "iec62056": iec62056_form}


def form_of(profile: Profile) -> FormOf:
    """Return what can lie at the places of a profile, by its protocol."""
    if profile.protocol == "modbus":
        return modbus_forms(profile)
    if profile.protocol in _FORMS:
        return _FORMS[profile.protocol]
    return lambda _place, _address, _type: Form("f64")  # OPC UA: Doubles
