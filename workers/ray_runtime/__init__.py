"""Everything that knows Ray: the private cluster, the evaluators and the search through Tune."""

import os

# Else a thread that outlives the connection to a cluster would start another with its next call. Ray reads it once.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
