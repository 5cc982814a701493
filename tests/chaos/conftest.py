"""The long storm is run where its size is given."""

import os

collect_ignore_glob = [] if os.environ.get("CHAOS_ACTIVITIES") else ["test_*.py"]
