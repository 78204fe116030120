"""How fast the parts are, each against the limit underneath it, measured in the same run."""
