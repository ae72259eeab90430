"""``python -m workers.ray_runtime.join --address HEAD:PORT COMMAND...``: runs a command beside its own Ray node.

A Ray driver needs a node on its machine; this one offers no resources. The two end together, so that a container that
loses its node (say, because the head was restarted) restarts and joins again.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until it or the node ends, or until SIGTERM or SIGINT; returns the command's exit code.

    The code is 1 if the node ended first.
    """
    parser = argparse.ArgumentParser(description="Run a command beside a Ray node that offers no resources.")
    parser.add_argument("--address", required=True, help="the Ray head's host:port")
    parser.add_argument("--object-store-memory", type=int, default=2 * 2**30, help="bytes of the node's object store")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("name the command to run, such as: soupsearch worker")
    return _run_together(_node_command(options.address, options.object_store_memory), options.command)


def _node_command(address: str, object_store_bytes: int) -> list[str]:
    return [
        "ray",
        "start",
        "--block",
        f"--address={address}",
        "--num-cpus=0",
        "--num-gpus=0",
        "--disable-usage-stats",
        f"--object-store-memory={object_store_bytes}",
    ]


def _run_together(node_command: Sequence[str], command: Sequence[str]) -> int:
    # Blocked signals wait for sigwait, so that none is lost between a look at the processes and the wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    node, process = _start(node_command), _start(command)
    while node.poll() is None and process.poll() is None:
        if signal.sigwait(_SIGNALS) != signal.SIGCHLD:
            break
    is_lost = node.poll() is not None
    for each in (process, node):
        each.terminate()
        each.wait()
    code = process.returncode
    return 1 if is_lost else code if code >= 0 else 128 - code


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, preexec_fn=_unblock)  # noqa: PLW1509 - this process has one thread


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


if __name__ == "__main__":
    sys.exit(main())
