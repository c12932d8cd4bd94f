"""Settings of the property tests."""

import os

from hypothesis import settings

# compilation and a busy machine make single examples slow; in CI a run must be repeatable
settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
