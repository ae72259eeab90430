"""``python -m soupsearch.embedded.head PARENT ARGUMENT...``: run a ``ray start`` that ends with its parent."""

import sys

from service.parent_death import die_with_parent


def main() -> None:
    """Run ``ray start`` with the arguments after the parent's process id."""
    parent, arguments = int(sys.argv[1]), sys.argv[2:]
    die_with_parent(parent)
    from ray.scripts.scripts import main as ray_main

    sys.argv = ["ray", "start", *arguments]
    ray_main()


if __name__ == "__main__":
    main()
