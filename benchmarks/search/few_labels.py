"""What few labels and none are worth: soups chosen by labels, by mutual information, and by both, on other images.

    python -m benchmarks.search.few_labels landscapes [--draws 4] [--unlabelled 300]

Of each landscape's 700 images, a draw takes 100 from which labels are drawn, ``--unlabelled`` that have none, and the
others, which score the choice. Every soup of the grid competes. Printed for each pantry, number of labels and rule: the
accuracy on the other images, minus that of the best ingredient chosen by the same rule, with 95 % intervals over
shifts, and the part of what the best soup of all would gain. ``entropy`` is AdaMerging's objective, ``teacher`` the
agreement with the ingredients' softmax ensemble; ``unguarded`` leaves out the alarms. With ``--suggested``, labels that
``search.labelling`` suggests are compared with random ones.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.evaluation import Outcome, SetOutcome
from search.guards import guards_of
from search.information import UnlabelledSet, weight_beside
from search.labelling import MOST_SOUPS, suggest_labels
from search.resampling import sample_interval
from search.testing import RecordedLandscape

LABELS = (0, 5, 10, 20, 50, 100)
SUGGESTED = (3, 5, 10, 20, 50)
KEPT_OUT = 100
"""Images of a draw from which labels are drawn."""
ALONE = UnlabelledSet(0)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """One draw of a landscape's images: those without a label, those that score, and others that may get a label."""

    landscape: RecordedLandscape
    candidates: NDArray[np.intp]
    unlabelled: NDArray[np.intp]
    others: NDArray[np.intp]

    @cached_property
    def logs(self) -> Array:
        """Log-probabilities of all soups (soups, images, classes)."""
        return ALONE.log_probabilities(self.landscape.logits)

    @cached_property
    def predictions(self) -> NDArray[np.intp]:
        """Of all soups (soups, images)."""
        return np.asarray(self.logs.argmax(axis=2))

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which predictions are right (soups, images)."""
        return np.asarray(self.predictions == self.landscape.labels)

    @cached_property
    def accuracies(self) -> Array:
        """Of all soups on the images that score."""
        return np.asarray(self.right[:, self.others].mean(axis=1))

    @cached_property
    def singles(self) -> NDArray[np.intp]:
        """Places of the ingredients."""
        return np.flatnonzero(np.isclose(np.abs(self.landscape.weights), np.eye(4)[:, None]).all(axis=2).any(axis=0))

    @cached_property
    def information(self) -> Array:
        """Mutual information of all soups on the images without a label."""
        return ALONE.mutual_information(self.landscape.logits[:, self.unlabelled])

    @cached_property
    def alarmed(self) -> NDArray[np.bool_]:
        """For which soups an alarm sounds."""
        outcomes = [
            Outcome("complete", (SetOutcome(len(self.unlabelled), predicted.astype(np.int32), logits=logits),))
            for predicted, logits in zip(
                self.predictions[:, self.unlabelled],
                self.landscape.logits[:, self.unlabelled].astype(np.float32),
                strict=True,
            )
        ]
        [guard] = guards_of([ALONE], [outcomes[place] for place in self.singles])
        return np.array([bool(guard.shortfalls(outcome)) for outcome in outcomes])

    @cached_property
    def agreement(self) -> Array:
        """Of all soups with the softmax ensemble, on the images without a label."""
        teacher = np.exp(self.logs[self.singles]).mean(axis=0).argmax(axis=1)
        return np.asarray((self.predictions == teacher)[:, self.unlabelled].mean(axis=1))

    @cached_property
    def entropy(self) -> Array:
        """Mean entropy of the predictions of all soups."""
        logs = self.logs[:, self.unlabelled]
        return np.asarray(-(np.exp(logs) * logs).sum(axis=2).mean(axis=1))

    def likelihood(self, rows: NDArray[np.intp]) -> Array:
        """Mean log-probability of the labels of ``rows``; 0 without any."""
        if not len(rows):
            return np.zeros(len(self.predictions))
        return np.asarray(self.logs[:, rows, self.landscape.labels[rows]].mean(axis=1))


Rule = Callable[[Draw, NDArray[np.intp]], Array]
"""What each soup is chosen by when these images have a label; more is better."""


def accuracy(draw: Draw, labelled: NDArray[np.intp]) -> Array:
    """The paper's rule: accuracy on the labels, ties by likelihood."""
    return np.asarray(draw.right[:, labelled].mean(axis=1) + 1e-6 * np.tanh(draw.likelihood(labelled) / 100))


def both(draw: Draw, labelled: NDArray[np.intp]) -> Array:
    """Likelihood and mutual information."""
    return np.asarray(draw.likelihood(labelled) + weight_beside(len(labelled)) * draw.information)


def guarded(draw: Draw, labelled: NDArray[np.intp]) -> Array:
    """The same, soups with an alarm after all others while mutual information counts."""
    return both(draw, labelled) - 1e6 * (draw.alarmed if weight_beside(len(labelled)) else 0)


RULES: dict[str, Rule] = {
    "accuracy": accuracy,
    "NLL": lambda draw, labelled: draw.likelihood(labelled),
    "mutual information": lambda draw, _: draw.information,
    "J, unguarded": both,
    "J": guarded,
    "teacher": lambda draw, _: draw.agreement,
    "entropy": lambda draw, _: -draw.entropy,
}
NEED_LABELS = {"accuracy", "NLL"}
NEED_NONE = {"mutual information", "teacher", "entropy"}


def draws_of(path: Path, count: int, unlabelled: int) -> list[Draw]:
    """The draws of one landscape."""
    landscape = RecordedLandscape.load(path)
    orders = [np.random.default_rng(draw).permutation(len(landscape.labels)) for draw in range(count)]
    end = KEPT_OUT + unlabelled
    return [Draw(landscape, order[:KEPT_OUT], np.sort(order[KEPT_OUT:end]), np.sort(order[end:])) for order in orders]


@dataclass(frozen=True)
class Choice:
    """A rule's choice for one draw: its accuracy, the best ingredient's by the same rule, and the greatest of all."""

    accuracy: float
    ingredient: float
    best: float


def choice_of(draw: Draw, labelled: NDArray[np.intp], rule: Rule) -> Choice:
    """What ``rule`` chooses of all soups, and of the ingredients."""
    values = np.round(rule(draw, labelled), 9)
    single = draw.singles[values[draw.singles].argmax()]
    accuracies = draw.accuracies
    return Choice(float(accuracies[values.argmax()]), float(accuracies[single]), float(accuracies.max()))


def choices_of(path: Path, options: argparse.Namespace) -> dict[str, list[Choice]]:
    """Every rule's choices for one landscape, with every number of labels, draw by draw."""
    found: dict[str, list[Choice]] = {}
    for draw in draws_of(path, options.draws, options.unlabelled):
        for labels in LABELS:
            for name, rule in RULES.items():
                if name not in NEED_LABELS if not labels else name not in NEED_NONE:
                    row = found.setdefault(f"{labels} | {name}", [])
                    row.append(choice_of(draw, draw.candidates[:labels], rule))
        accuracies = draw.accuracies
        known = float(accuracies[draw.singles].max())
        uniform = Choice(float(accuracies[-1]), known, float(accuracies.max()))
        found.setdefault("0 | the uniform soup", []).append(uniform)
    return found


def tabulate(pantry: Path, options: argparse.Namespace) -> None:
    """Print the rows of one pantry."""
    print(f"\n**{pantry.name}**, {options.unlabelled} images without a label\n")
    print("| labels | chosen by | accuracy | minus best ingredient, points | 95 % | worst | of the possible gain |")
    print("|---|---|---|---|---|---|---|")
    shifts = [choices_of(path, options) for path in sorted(pantry.glob("*.npz"))]
    for name in shifts[0]:
        print(_row(name, [Choice(*np.mean([astuple(one) for one in each[name]], axis=0).tolist()) for each in shifts]))


def _row(name: str, found: Sequence[Choice]) -> str:
    gains = np.array([100 * (each.accuracy - each.ingredient) for each in found])
    low, high = sample_interval(gains)
    possible = float(np.mean([each.best - each.ingredient for each in found]))
    share = float(gains.mean() / 100 / possible) if possible > 0 else 0.0
    accuracy = 100 * np.mean([each.accuracy for each in found])
    interval = f"{low:+.1f} to {high:+.1f}"
    return f"| {name} | {accuracy:.1f} | {gains.mean():+.1f} | {interval} | {gains.min():+.1f} | {share:.2f} |"


def compare_suggested(pantry: Path, options: argparse.Namespace) -> None:
    """Print what labels of suggested images are worth beside labels of random ones, from the same pool."""
    print(f"\n**{pantry.name}**, of {options.unlabelled} images\n")
    print("| labels | random | suggested | suggested minus random, points | 95 % | worst |")
    print("|---|---|---|---|---|---|")
    shifts = [_suggested(path, options) for path in sorted(pantry.glob("*.npz"))]
    for place, labels in enumerate(SUGGESTED):
        values = 100 * np.array([each[place] for each in shifts])
        gains = values[:, 1] - values[:, 0]
        low, high = sample_interval(gains)
        random, suggested = values.mean(axis=0)
        interval = f"{low:+.1f} to {high:+.1f}"
        print(f"| {labels} | {random:.1f} | {suggested:.1f} | {gains.mean():+.1f} | {interval} | {gains.min():+.1f} |")


def _suggested(path: Path, options: argparse.Namespace) -> Array:
    """The accuracies after random and after suggested labels, shape (numbers of labels, 2), averaged over draws."""
    rows = []
    for number, draw in enumerate(draws_of(path, options.draws, options.unlabelled)):
        rng = np.random.default_rng([2, number])
        soups = np.union1d(draw.singles, rng.permutation(len(draw.predictions))[: MOST_SOUPS - 4])
        predicted = draw.predictions[soups][:, draw.unlabelled]
        suggested = [each.image for each in suggest_labels(predicted, max(SUGGESTED), classes=10)]
        orders = (rng.permutation(len(draw.unlabelled)), np.array(suggested))
        rows.append([[_labelled(draw, order[:labels]) for order in orders] for labels in SUGGESTED])
    return np.asarray(np.mean(rows, axis=0))


def _labelled(draw: Draw, images: NDArray[np.intp]) -> float:
    """The accuracy of the soup chosen once these of the images without a label have one."""
    known = draw.unlabelled[images]
    values, weight = draw.likelihood(known), weight_beside(len(known))
    if weight:
        rest = np.setdiff1d(draw.unlabelled, known)
        values = values + weight * ALONE.mutual_information(draw.landscape.logits[:, rest])
    return float(draw.accuracies[values.argmax()])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print Markdown tables."""
    options = _parser().parse_args(arguments)
    for pantry in sorted(path for path in options.landscapes.iterdir() if any(path.glob("*.npz"))):
        (compare_suggested if options.suggested else tabulate)(pantry, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What few labels and none are worth.")
    parser.add_argument("landscapes", type=Path, help="folder of the files that record.py writes")
    parser.add_argument("--draws", type=int, default=4, help="draws of the images")
    parser.add_argument("--unlabelled", type=int, default=300, help="images without a label")
    parser.add_argument("--suggested", action="store_true", help="compare suggested labels with random ones")
    return parser


if __name__ == "__main__":
    main()
