"""Which protocol's types a profile has."""

from metering.profile import Profile
from simulators.dlt645_types import dlt645_form
from simulators.forms import Form, FormOf
from simulators.modbus_types import modbus_forms


def form_of(profile: Profile) -> FormOf:
    """Return what can lie at the places of a profile, by its protocol."""
    if profile.protocol == "modbus":
        return modbus_forms(profile)
    if profile.protocol == "dlt645":
        return dlt645_form
    return lambda _place, _address, _type: Form("f64")  # OPC UA: Doubles
