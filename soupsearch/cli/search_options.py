"""Options of `soupsearch adapt` alone: how soups are searched, scored, refined and told."""

from typing import Annotated

import typer

Preset = Annotated[
    str,
    typer.Option(
        help="What options left out stand for. auto: the best model, found by likelihood and refined. paper: the "
        "best of all soups by accuracy, as it is."
    ),
]
StrategyName = Annotated[
    str | None,
    typer.Option(
        help="grid: every soup. bayes: few, to find one about as good. "
        "Or auto, race, gradient, curve, simplex, greedy, random, uniform: see docs/search.md."
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune",
        help="For grid: drop soups that cannot be among the best, and refine none: the grid's answer for less.",
    ),
]
Between = Annotated[str | None, typer.Option(metavar="NAME,NAME", help="For curve: the two ingredients.")]
CurvePoints = Annotated[int | None, typer.Option(help="For curve: how many soups (10).")]
Among = Annotated[
    str | None, typer.Option(metavar="NAME,NAME,...", help="For simplex: the ingredients, by default all.")
]
Evaluations = Annotated[int | None, typer.Option(help="Most soups to try.")]
ForwardPasses = Annotated[int | None, typer.Option(help="Most forward passes of one image by the soups tried.")]
Seconds = Annotated[float | None, typer.Option(help="Longest time to search.")]
Interval = Annotated[
    float | None, typer.Option(help="Stop once no soup proposed together is likely to be better by this.")
]
ContinueFrom = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="Go on from the soups of a job that has ended; they count among the --evaluations."
    ),
]
Lower = Annotated[float | None, typer.Option(help="Least weight of an ingredient (-0.4).")]
Upper = Annotated[float | None, typer.Option(help="Greatest weight of an ingredient (1.4).")]
Step = Annotated[float | None, typer.Option(help="Distance between neighbouring weights (0.2).")]
Continuous = Annotated[
    bool, typer.Option("--continuous", help="For bayes: any weights within the limits, without a step.")
]
Convex = Annotated[bool, typer.Option("--convex", help="Only weights in [0, 1].")]
Metric = Annotated[
    str | None,
    typer.Option(help="What soups are scored by without --threat: nll, accuracy, mutual_information or auto."),
]
Prior = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS=SHARE",
        help="How common a class is among images without a label, for mutual_information. Repeatable; the classes "
        "left out share the rest.",
    ),
]
LabelNext = Annotated[int, typer.Option(help="How many images without a label to name for labelling.")]
Fixed = Annotated[
    list[str] | None, typer.Option(metavar="NAME=WEIGHT", help="Keep an ingredient at this weight. Repeatable.")
]
Bounded = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=LOW:HIGH", help="Keep an ingredient's weight within bounds. Repeatable."),
]
OverSets = Annotated[str, typer.Option(help="How several sets count: mean or worst.")]
HeldOutShare = Annotated[
    float, typer.Option(help="Share of the images to keep out of the selection and score the soup on.")
]
TopK = Annotated[int, typer.Option(help="How many of the best soups the result lists.")]
RefineStatistics = Annotated[
    str | None, typer.Option(help="BatchNorm statistics of every soup: source, adapted to the images, or auto.")
]
RefineHead = Annotated[str | None, typer.Option(help="Last layer of every soup: keep, refit to the labels, or auto.")]
FitTemperature = Annotated[
    bool, typer.Option("--temperature", help="Also fit a temperature, if it makes the labels likelier.")
]
RefineLayers = Annotated[
    str | None,
    typer.Option(help="Weights of the best soup's layers: one, the same in all; or auto, their own if better."),
]
PrecisionName = Annotated[str, typer.Option(help="float32 or bfloat16 forward passes.")]
Seed = Annotated[int, typer.Option(help="Seed of the held-out split, the attacks and the bootstrap.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only check the request and say what it would cost. Several sets are stored."),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the job's id and return immediately.")]
