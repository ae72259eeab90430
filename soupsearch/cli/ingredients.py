"""Ingredients named on the command line: collected from folders and files, packed for an upload."""

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from service.pantries.ingredients import FILES
from soupsearch.cli.exits import CommandError

STATE_DICT_SUFFIXES = {".pt", ".pth", ".bin", ".tar"}


@contextmanager
def gathered(
    arguments: Sequence[Path], config: Path | None = None, *, use_ema: bool = True
) -> Iterator[dict[str, Path]]:
    """The timm folder of each ingredient by name, in order; state_dict files are converted into a temporary folder.

    Prints for each file which weights it took. With ``use_ema`` it takes their moving average if the file has one.
    Raises CommandError for a path that is neither, and for a name given twice.
    """
    with TemporaryDirectory(prefix="soupsearch-") as scratch:
        named: dict[str, Path] = {}
        for name, path in _named(arguments):
            if Path(name).name != name:
                raise CommandError(f"{name!r} cannot name an ingredient: use letters, digits, dot, dash, underscore")
            if name in named:
                raise CommandError(f"two ingredients are called {name!r}: rename one with NAME=DIR")
            named[name] = path if path.is_dir() else _converted(path, config, Path(scratch) / name, use_ema)
        yield named


@contextmanager
def packed(ingredients: dict[str, Path]) -> Iterator[Path]:
    """A temporary tar with one folder per ingredient, as ``POST /pantries`` takes it."""
    with TemporaryDirectory(prefix="soupsearch-") as scratch:
        target = Path(scratch) / "pantry.tar"
        with tarfile.open(target, "w") as archive:
            for name, folder in ingredients.items():
                for file in (folder / kept for kept in FILES if (folder / kept).is_file()):
                    archive.add(file.resolve(), f"{name}/{file.name}")
        yield target


def _named(arguments: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in _expanded(arguments):
        name, equals, rest = str(path).partition("=")
        given = equals and not path.exists()
        source = Path(rest) if given else path
        if not source.exists():
            raise CommandError(f"{source} does not exist: give a timm folder or a state_dict file")
        yield (name if given else _name(source.resolve()), source)


def _name(source: Path) -> str:
    """The folder's name, or the file's without the suffixes of state_dicts: ``best`` for ``best.pth.tar``."""
    bare = source
    while source.is_file() and bare.suffix in STATE_DICT_SUFFIXES:
        bare = bare.with_suffix("")
    return bare.name


def _expanded(arguments: Sequence[Path]) -> list[Path]:
    if len(arguments) == 1 and arguments[0].is_dir() and not (arguments[0] / "config.json").exists():
        found = sorted(path for path in arguments[0].iterdir() if (path / "config.json").exists())
        if not found:
            raise CommandError(f"{arguments[0]} holds no timm folders: a timm folder has a config.json")
        return found
    return list(arguments)


def _converted(source: Path, config: Path | None, target: Path, use_ema: bool) -> Path:
    from workers.soups.conversion import ConversionError, convert_state_dict

    if source.suffix not in STATE_DICT_SUFFIXES:
        raise CommandError(f"{source} is neither a timm folder nor a state_dict ({', '.join(STATE_DICT_SUFFIXES)})")
    if config is None:
        raise CommandError(f"{source} only holds weights: pass --config with the timm config.json of its architecture")
    try:
        weights = convert_state_dict(source, config, target, use_ema=use_ema)
    except ConversionError as error:
        raise CommandError(str(error)) from error
    other = f"; {'--no-ema' if use_ema else '--ema'} takes {weights.left}" if weights.left else ""
    typer.echo(f"{target.name}: took {weights} from {source}{other}")
    return target
