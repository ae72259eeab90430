"""Devices named on the command line."""

from soupsearch.cli.exits import CommandError

NAMES = ("auto", "cpu", "cuda")


def torch_device(name: str) -> str:
    """PyTorch's device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto is a GPU if there is one.

    Raises CommandError for any other name, and for cuda if PyTorch finds no GPU.
    """
    import torch

    kind, _, number = name.partition(":")
    if kind not in NAMES or (number and not (kind == "cuda" and number.isdigit())):
        raise CommandError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise CommandError(f"PyTorch finds no device {name} on this machine: use --device cpu")
    return name
