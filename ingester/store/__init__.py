"""Where series and records live. `contract.py` says what a store promises; the adapters stand beside it."""
