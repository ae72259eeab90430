"""What a result says in plain words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.layers import LayerKind
from service.schemas.objective import Measured
from service.schemas.request import AdaptRequest
from service.schemas.result import (
    AccuracyTest,
    AppliedRefinement,
    Baselines,
    HeldOut,
    LabelFreeChoice,
    LayerWiseSoup,
    PairedTest,
    Result,
    Score,
)

_ACCURACY = "accuracy"
_NAMED = 3
"""Images that a summary names."""
SIGNIFICANT = 0.05
"""A difference from the best ingredient counts when chance alone gives it less often than this."""
_LAYERS: dict[LayerKind, str] = {
    "head": "Its last layer has weights of its own",
    "slope": "Its weights change linearly with depth",
    "thirds": "Its early, middle and late layers have weights of their own",
    "blocks": "Each of its layers has weights of its own",
}
_OVER_SETS = {"mean": ", on average over the sets", "worst": ", in the worst set"}


def summarise(result: Result, request: AdaptRequest) -> str:
    """Say how good the soup is, whether that is more than the best ingredient, and what else would be better.

    The figures are those of the held-out images, where there are some. A choice without labels is told as such. Where
    soups are scored by likelihood, they are compared and told by their accuracy, if it is known; models whose figure is
    not known are passed over.
    """
    measured, apart = request.ranked_by[0], result.held_out
    many = len(result.per_set) > 1
    soup: Result | Score = result
    test, images = result.paired_test, _counted(result.images, "images that chose it")
    rivals: Baselines | HeldOut | None = result.baselines
    if apart is not None:
        soup, test, images = apart.soup, apart.paired_test, _counted(apart.images, "held-out images")
        rivals = apart
    if result.label_free is not None:
        return " ".join([*_label_free(_subject(result, request), result, result.label_free), *_notes(result, request)])
    knows_accuracy = _ACCURACY in soup.metrics and (test is None or test.accuracy is not None)
    figures = _Figures(measured, images, many_sets=many, in_nats=measured.metric == "nll" and not knows_accuracy)
    sentences = [_against_ingredient(_subject(result, request), soup, rivals, test, figures)]
    if rivals is not None and (rival := _strongest(soup, rivals, request, figures)) is not None:
        sentences.append(rival.sentence(figures.of_soup(soup), figures))
    return " ".join([*sentences, *_notes(result, request)])


def _notes(result: Result, request: AdaptRequest) -> list[str]:
    notes = []
    if result.constraints_met is False:
        notes.append("No soup meets all constraints; this one violates them least.")
    if result.layers is not None:
        notes.append(_layers(result.layers))
    return notes + _end(result, request)


def _layers(soup: LayerWiseSoup) -> str:
    """Whether weights for each layer paid, as far as cross-validation tells."""
    losses = {step.kind: step.nll for step in soup.steps}
    if soup.kind == "one":
        return "Weights for each layer were tried and are not used: no kind of them was clearly likelier."
    told = [f"{loss:.3f}" if loss is not None else "none" for loss in (losses["one"], losses[soup.kind])]
    return (
        f"{_LAYERS[soup.kind]}: that lowers the cross-validated negative log-likelihood from {told[0]} to "
        f"{told[1]} nats."
    )


def _label_free(subject: str, result: Result, choice: LabelFreeChoice) -> list[str]:
    """What is known of a soup that labels did not choose, or not alone, and whether to trust the choice."""
    sentences = [f"{subject} was chosen without labels, by its mutual information on {choice.unlabelled} images."]
    if choice.labelled:
        sentences = [
            f"{subject} was chosen by {choice.labelled} images with a label and {choice.unlabelled} without.",
            *_right_on(f"the {choice.labelled} that have one", result, result.baselines),
        ]
    elif result.baselines is not None:
        name, best = max(result.baselines.ingredients.items(), key=lambda pair: pair[1].score)
        adapted = result.baselines.adapted_statistics
        beside = f", {adapted.ingredient} with adapted statistics alone {adapted.score:.3f}" if adapted else ""
        sentences.append(
            f"That is {result.score:.3f} nats; {name}, the best ingredient by it, has {best.score:.3f}{beside}."
        )
    if result.held_out is not None:
        images = f"the {result.held_out.images} held-out images with a label"
        sentences += _right_on(images, result.held_out.soup, result.held_out)
    if choice.doubts:
        images = ", ".join(each.image for each in result.label_next[:_NAMED])
        advice = f"label some images, first of all {images}" if images else "label some images"
        sentences.append(f"Do not trust this choice: {'; '.join(choice.doubts)}. Instead, {advice}.")
    return sentences


def _right_on(images: str, soup: Score | Result, rivals: Baselines | HeldOut | None) -> list[str]:
    """On how many images the soup is right, and the ingredient that is right most often."""
    ours = soup.metrics.get(_ACCURACY)
    if ours is None:
        return []
    theirs = {} if rivals is None else {name: each.metrics.get(_ACCURACY) for name, each in rivals.ingredients.items()}
    known = {name: value for name, value in theirs.items() if value is not None}
    best = max(known, key=lambda name: known[name], default=None)
    beside = "" if best is None else f", {best}, the best ingredient, on {known[best]:.1%}"
    adapted = None if rivals is None else rivals.adapted_statistics
    if adapted is not None and (value := adapted.metrics.get(_ACCURACY)) is not None:
        beside += f", {adapted.ingredient} with adapted statistics alone on {value:.1%}"
    return [f"It is right on {ours:.1%} of {images}{beside}.".replace("%", " %")]


def _end(result: Result, request: AdaptRequest) -> list[str]:
    """What ended the search, unless it went as far as its strategy and its number of evaluations let it."""
    if result.partial:
        return ["The search was cancelled before it had tried every soup."]
    budget = request.search.limits(request.search.space(list(result.weights)))
    if budget is None:
        return []
    soups = f"{result.cost.evaluations} soup{'' if result.cost.evaluations == 1 else 's'}"
    if result.ended_by == "forward_passes":
        limit = f"its budget of {budget.forward_passes} forward passes"
        return [f"The search ended after {soups}: another might have exceeded {limit}."]
    if result.ended_by == "seconds":
        return [f"The search ended after {soups}, when its {budget.seconds:g} seconds were over."]
    if result.ended_by == "interval":
        return [f"The search ended after {soups}: none of the last gained {budget.interval:g} or more."]
    return []


def _counted(images: int | None, what: str) -> str:
    return f"the {what}" if images is None else f"the {images} {what}"


@dataclass(frozen=True)
class _Figures:
    """How scores of an objective read, on ``images`` of one set or of several."""

    measured: Measured
    images: str
    many_sets: bool = False
    in_nats: bool = False

    @property
    def by_accuracy(self) -> bool:
        """Whether models that are scored by likelihood are told by their accuracy."""
        return self.measured.metric == "nll" and not self.in_nats

    def told(self, score: Score | Result) -> float | None:
        """The figure that is told of a model: its score, or its accuracy where that is a likelihood.

        None where accuracy is told, and a model has none: its logits were not finite.
        """
        return score.metrics.get(_ACCURACY) if self.by_accuracy else score.score

    def of_soup(self, soup: Score | Result) -> float:
        """The figure that is told of the soup itself, which has one."""
        value = self.told(soup)
        return soup.score if value is None else value

    def score(self, value: float) -> str:
        """A score alone."""
        return f"{value:.3f} nats" if self.in_nats else f"{value:.1%}".replace("%", " %")

    def found(self, value: float) -> str:
        """What a model is or has, as a predicate."""
        sets = _OVER_SETS[self.measured.over_sets] if self.many_sets else ""
        if self.in_nats:
            return f"has a log-likelihood of {self.score(value)} on {self.images}{sets}"
        attacked = " under attack" if self.measured.metric == "robust_accuracy" else ""
        return f"is right{attacked} on {self.score(value)} of {self.images}{sets}"

    def difference(self, value: float, than: str = "") -> str:
        """How much more or less a score is, than that of another model if it is named."""
        size = f"{abs(value):.3f} nats" if self.in_nats else f"{100 * abs(value):.1f} points"
        if float(size.split(maxsplit=1)[0]) == 0:
            return f"as much as {than}" if than else "as much"
        return f"{size} {'more' if value > 0 else 'less'}{f' than {than}' if than else ''}"


def _subject(result: Result, request: AdaptRequest) -> str:
    used = [name for name, weight in result.weights.items() if weight]
    parts = [f"which is {used[0]} alone"] if len(used) == 1 else []
    parts += [] if result.refinement is None else [f"with {' and '.join(_changes(result.refinement))}"]
    subject = f"The soup, {', '.join(parts)}," if parts else "The soup"
    named = [each.name for each in request.objectives or []]
    return f"By the objective {named[0]}, {subject[0].lower()}{subject[1:]}" if named else subject


def _changes(refinement: AppliedRefinement) -> list[str]:
    changes = {
        "adapted statistics": refinement.statistics == "adapted",
        "a refitted last layer": refinement.head == "refit",
        "a fitted temperature": refinement.temperature is not None,
    }
    return [what for what, applies in changes.items() if applies]


def _against_ingredient(
    subject: str,
    soup: Result | Score,
    rivals: Baselines | HeldOut | None,
    test: PairedTest | None,
    figures: _Figures,
) -> str:
    ours = figures.of_soup(soup)
    theirs = None if rivals is None or test is None else figures.told(rivals.ingredients[test.against])
    if rivals is None or test is None or theirs is None:
        return f"{subject} {figures.found(ours)}."
    best = f"the {_rank_of(test.against, rivals, figures)} ingredient ({test.against})"
    judged = test.accuracy if figures.by_accuracy and test.accuracy is not None else test
    better, worse = (_is_significant(judged) and each > 0 for each in (ours - theirs, theirs - ours))
    if better:
        return f"{subject} {figures.found(ours)}, {figures.difference(ours - theirs, best)}."
    both = f"it {figures.found(ours)}, {test.against} {_short(theirs, figures)}"
    if worse:
        return f"{subject} is worse than {best}: {both}."
    if judged is not test and _is_significant(test) and round(test.difference, 3) > 0:
        return (
            f"{subject} is as accurate as {best} as far as these images tell, and surer of the right labels: {both}; "
            f"the right labels are {test.difference:.3f} nats more likely."
        )
    return f"{subject} is no better than {best} as far as these images tell: {both}."


def _rank_of(name: str, rivals: Baselines | HeldOut, figures: _Figures) -> str:
    """What the best ingredient is called: it has the best score, which need not be the best figure that is told."""
    told = {each: figures.told(score) for each, score in rivals.ingredients.items()}
    own = told[name]
    is_beaten = (
        figures.by_accuracy and own is not None and any(each is not None and each > own for each in told.values())
    )
    return "likeliest" if is_beaten else "best"


def _short(value: float, figures: _Figures) -> str:
    return f"{'one of' if figures.in_nats else 'on'} {figures.score(value)}"


def _is_significant(test: PairedTest | AccuracyTest) -> bool:
    if test.p_value is not None:
        return test.p_value < SIGNIFICANT
    low, high = test.interval
    return low > 0 or high < 0


@dataclass(frozen=True)
class _Rival:
    """A model beside the soup: what it is, its score, what to do or know if it is better."""

    what: str
    score: float
    if_better: str = "."

    def sentence(self, soup: float, figures: _Figures) -> str:
        """Say how far it is from the soup."""
        difference = self.score - soup
        end = self.if_better if difference > 0 else "."
        return f"{self.what} gives {figures.score(self.score)}, {figures.difference(difference)}{end}"


def _strongest(
    soup: Result | Score, rivals: Baselines | HeldOut, request: AdaptRequest, figures: _Figures
) -> _Rival | None:
    """The best of all rivals where it is better than the soup, else the best of the refined ingredients."""
    refined = _refined(rivals, request, figures)
    every = [*refined, *_others(rivals, figures)]
    score: Callable[[_Rival], float] = lambda rival: rival.score  # noqa: E731
    best = max(every, key=score, default=None)
    return best if best is not None and best.score > figures.of_soup(soup) else max(refined, key=score, default=None)


def _refined(rivals: Baselines | HeldOut, request: AdaptRequest, figures: _Figures) -> list[_Rival]:
    statistics, head = rivals.adapted_statistics, rivals.refitted_head
    is_plain = request.search.differentiates or request.search.drops_soups
    use = "search in another way, with" if is_plain else "use"
    models: list[tuple[str, Score | None, str]] = []
    if statistics is not None:
        advice = f': {use} refine.statistics "auto".' if request.refine.statistics == "source" else "."
        models.append((f"Adapting the statistics of {statistics.ingredient} alone", statistics, advice))
    if head is not None:
        advice = f': {use} refine.head "auto".' if request.refine.head == "keep" else "."
        models.append((f"Refitting the last layer of {head.ingredient} alone", head, advice))
    return _told(models, figures)


def _others(rivals: Baselines | HeldOut, figures: _Figures) -> list[_Rival]:
    costly = ", but costs a pass through every ingredient."
    models: list[tuple[str, Score | None, str]] = [
        *((f"The ingredient {name}", score, ".") for name, score in rivals.ingredients.items()),
        ("The uniform soup", rivals.uniform_soup, "."),
        ("The reference", rivals.reference, "."),
        ("The logit ensemble", rivals.logit_ensemble, costly),
        ("The softmax ensemble", rivals.softmax_ensemble, costly),
    ]
    return _told(models, figures)


def _told(models: Sequence[tuple[str, Score | None, str]], figures: _Figures) -> list[_Rival]:
    """Those whose figure is known."""
    values = [(name, None if score is None else figures.told(score), end) for name, score, end in models]
    return [_Rival(name, value, end) for name, value, end in values if value is not None]
