"""``python -m tests.lab.training.machines COUNT``: a Ray cluster of so many nodes of one CPU, on this machine.

Prints its address. Reads a word a line: ``lose`` kills the last node, ``join`` adds one, ``end`` kills the cluster's
head; prints the word when it is done. Ends, with all of it, at the end of standard input.
"""

from __future__ import annotations

import os
import sys

OBJECT_STORE_BYTES = 100_000_000
ENVIRONMENT = {
    # Without this Ray's servers listen on every interface.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


def main() -> None:
    """Do what standard input says."""
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES) for _ in range(int(sys.argv[1]))]
    _answer(cluster.address)
    for word in map(str.strip, sys.stdin):
        if word == "lose":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        elif word == "join":
            nodes.append(cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES))
        else:
            cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        _answer(word)
    cluster.shutdown()


def _answer(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
