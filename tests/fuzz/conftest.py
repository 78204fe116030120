"""Long fuzzing is for `make nightly`: nothing here is collected otherwise."""

import os

collect_ignore = [] if os.environ.get("TANBIAO_NIGHTLY") else ["test_fuzz_nightly.py"]
