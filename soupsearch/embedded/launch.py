"""``python -m soupsearch.embedded.launch PARENT PROGRAM ARGUMENT...``: become a server that ends with its parent."""

import os
import sys

from service.parent_death import die_with_parent

LAUNCH = [sys.executable, "-P", "-m", "soupsearch.embedded.launch"]
"""The command, without its arguments."""

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 -- the caller names the program, no shell reads it
