"""This process as a driver of a Ray cluster."""

import logging

import ray

from service.errors import Unavailable
from service.settings import Settings

NAMESPACE = "soupsearch"


def connect(settings: Settings) -> None:
    """Connect this process to the cluster at ``settings.ray_address``, until it ends or calls ``ray.shutdown``.

    The address is always given: a bare ``ray.init()`` may follow the stale address of a cluster that was killed.
    Raises Unavailable when no cluster answers.
    """
    try:
        ray.init(
            address=settings.ray_address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        msg = f"no Ray cluster answers at {settings.ray_address}: start one, or set SOUPSEARCH_RAY_ADDRESS ({error})"
        raise Unavailable(msg, code="ray_unavailable") from error
