"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str, typer.Option("--url", envvar="SOUPSEARCH_URL", help="The service to call.", metavar="URL", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda or cuda:N.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of the images, instead of the recipe's.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a field of the recipe: data.image_size=64; may be repeated."
    ),
]
CheckpointSeconds = Annotated[float, typer.Option(help="Seconds between two checkpoints.", min=0)]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Also write event files for TensorBoard.")]
TrainingWorkers = Annotated[
    int,
    typer.Option(
        "--workers",
        help="Processes that share each batch through Ray Train, with one GPU each if there are enough.",
        min=1,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Run the workers on this Ray cluster. All of its machines must see data and output under the same paths.",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8000"

Threats = Annotated[
    list[str] | None,
    typer.Option(
        "--threat",
        metavar="NORM:EPS",
        help="Score by robust accuracy under this threat, such as Linf:0.1 or Linf:8/255; repeat for several threats. "
        "Attacks take long: start with few images, 10 steps and a coarse grid.",
    ),
]
OverThreats = Annotated[
    str, typer.Option(help="How several threats count: union (right under all of them), mean or worst.")
]
AttackSteps = Annotated[int, typer.Option(help="Steps of each attack (APGD).")]
Losses = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        help="What the attacks maximise: ce (default), dlr or targeted-dlr. If repeated, an image counts when it stays "
        "right under each of them. ce alone overstates robustness.",
    ),
]
Restarts = Annotated[int, typer.Option(help="Runs of each attack, from random starts.")]
LargerRadii = Annotated[
    bool,
    typer.Option(
        "--larger-radii", help="L1: spend the first six tenths of the steps at larger radii, which is stronger."
    ),
]
MinAccuracy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[SET=]VALUE",
        help="Prefer soups with at least this accuracy without attack: 0.85 on the sets, clean.zip=0.85 "
        "on another set that soups are not scored on; may be repeated.",
    ),
]
Pareto = Annotated[
    bool,
    typer.Option(
        "--pareto",
        help="Show the front of accuracy and each threat or, without threats, of the accuracies on each set.",
    ),
]
Sets = Annotated[
    list[str],
    typer.Argument(
        metavar="SET...",
        help="zip, tar, tar.gz or npz; a folder of class folders; or the id of a stored set. With several sets, "
        "the soup is the one that is best over all of them.",
    ),
]
LabelMapFile = Annotated[
    Path | None,
    typer.Option(
        help="JSON file that maps each class of the set to one or more classes of the model, for every SET. A set that "
        "only --min-accuracy names keeps its archive's own label_map.json."
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder to write the merged model to, as timm loads it; with result.json.")
]
