"""Meters' protocols. `contract.py` is all a driver author reads; `catalogue.py` names the drivers there are."""
