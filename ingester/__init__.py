"""The centre: receives batches, stores them, derives activity and emissions, judges, tells."""
