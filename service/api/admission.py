"""Turns a request into a job, after every check that is possible before it is queued."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from search.continuation import most_soups
from search.evaluation import Refinement, Weights
from search.lattice import LatticeError
from search.space import SearchError, Space
from search.strategy import kind_of
from service.adaptation_sets.labels import check_attackable, prior_of, resolve
from service.adaptation_sets.stored import StoredSet
from service.api.services import Services
from service.errors import Expired, InvalidRequest, JobNotFound, PantryNotFound, SetNotFound, SoupsearchError, at_fault
from service.job_warnings import SelectingImages, warn_of_images, warn_of_long_search
from service.jobs.store import NewJob
from service.refinements import limits_of, warn_of_dropped_soups
from service.schemas.estimate import CostEstimate
from service.schemas.job import Job, JobStatus, Progress, RequestEcho
from service.schemas.objective import Measured
from service.schemas.pantry import Pantry
from service.schemas.request import AdaptRequest


def admit(
    use: Services,
    request: AdaptRequest,
    upload: Path | None,
    idempotency_key: str | None,
    *,
    suggests_labels: bool = False,
) -> Job:
    """Make a job of ``request`` and the archive uploaded with it; if it is refused, nothing is kept.

    If it ``suggests_labels``, some image must have none.
    Repeating a request for stored sets returns its job, even if a set or the pantry has since been removed.

    Raises:
        InvalidRequest: the request contradicts itself, a radius is wider than the pixel range, its lattice has no
            points or too many, it costs too much, or soups cannot be refined so.
        PantryNotFound, SetNotFound: it names a pantry or set that does not exist.
        InvalidSet, TooLarge: the archive is refused, or the pantry lacks its classes.
        IdempotencyConflict, QuotaExceeded, DeletedMeanwhile: by the job store.
        StorageFull: the disk is full.
    """
    _check_sources(request, upload)
    if repeated := _repeated(use, request, idempotency_key):
        return repeated
    looked_up = use.jobs.now()
    earlier = earlier_soups(use, request)
    with _understood(use, request, upload, len(earlier), keep=True) as echo:
        if suggests_labels:
            check_suggestions(use, echo.adaptation_sets)
        digest = request_digest(request, echo.adaptation_sets)
        job = NewJob(echo, looked_up, earlier)
        submission = use.jobs.submit(job, idempotency_key=idempotency_key, body_digest=digest)
    accepted = use.jobs.get(submission.job_id)
    if not submission.created:
        return accepted
    use.metrics.accepted.inc()
    return _as_accepted(accepted)


def estimate(use: Services, request: AdaptRequest, upload: Path | None) -> CostEstimate:
    """What the job of ``request`` would cost; nothing is kept. Raises as ``admit`` does, except for the job store."""
    _check_sources(request, upload)
    earlier = len(earlier_soups(use, request))
    with _understood(use, request, upload, earlier, keep=False) as echo:
        pantry, sets = _pantry(use, request), echo.adaptation_sets
        limits = request.search.limits(_space(request, pantry))
        evaluations = _count_points(request, pantry, earlier)
        passes = most_passes(use, request, pantry, sets, evaluations)
        speed = use.jobs.speed(echo.kind_of_work)
        seconds = None if speed is None else passes / speed
        if seconds is not None and limits is not None and limits.seconds is not None:
            seconds = min(seconds, limits.seconds)
        return CostEstimate(
            evaluations=evaluations,
            forward_passes=passes,
            seconds=seconds,
            warnings=[
                *warn_of_images(echo.request, _selecting_images(use, request, pantry, sets)),
                *warn_of_dropped_soups(echo.request),
                *warn_of_long_search(seconds),
            ],
        )


def earlier_soups(use: Services, request: AdaptRequest) -> list[Weights]:
    """The soups of the job that the request goes on from, as far as its search admits them, in that job's order.

    Those that it dropped early are left out.

    Raises InvalidRequest if there is no such job, it has not ended, it is of another pantry, or no soup is admitted;
    and if the search itself is impossible.
    """
    if (job_id := request.search.continue_from) is None:
        return []
    param = "search.continue_from"
    try:
        job = use.jobs.get(job_id)
    except (JobNotFound, Expired) as error:
        raise InvalidRequest(f"There is no job {job_id} to continue: GET /jobs lists all.", param=param) from error
    if not job.is_terminal:
        advice = "Resume it" if job.status is JobStatus.PAUSED else "Wait until it has ended, or cancel it"
        raise InvalidRequest(f"Job {job_id} is {job.status}, and its soups may change. {advice}.", param=param)
    pantry = _pantry(use, request)
    if job.request.pantry_digest != pantry.digest:
        raise InvalidRequest(f"Job {job_id} mixed another pantry. Name a job of {pantry.name!r}.", param=param)
    space = _space(request, pantry)
    tried = [tuple(point.weights) for point in use.jobs.iter_points(job_id) if not point.pruned]
    soups = [soup for soup in tried if request.search.admits(soup, space)]
    if not soups:
        raise InvalidRequest(f"Job {job_id} has tried no soup within the limits of this search.", param=param)
    return soups


def _selecting_images(
    use: Services, request: AdaptRequest, pantry: Pantry, sets: Sequence[str]
) -> list[SelectingImages]:
    """The images of each set that select the soup: those with a label, and those without."""
    stored = [_open(use, set_id) for set_id in sets]
    labels = [resolve(each, pantry.label_names, pantry.num_classes) for each in stored]
    return [
        SelectingImages(each.digest, count, len(labelled.columns), is_labelled)
        for each, labelled in zip(stored, labels, strict=True)
        for count, is_labelled in zip(_selected(each, request), (True, False), strict=True)
        if count
    ]


@contextmanager
def _understood(
    use: Services, request: AdaptRequest, upload: Path | None, earlier: int, *, keep: bool
) -> Iterator[RequestEcho]:
    """The request after all checks, which goes on from so many ``earlier`` soups.

    An uploaded set stays after the block only if ``keep``, and nothing was raised."""
    check_radii(request)
    pantry = _pantry(use, request)
    check_search(request, pantry, use.settings.max_points, earlier)
    with _sets(use, request, pantry, upload, keep=keep) as sets:
        check_measured_sets(request, sets)
        understood = decided(use, request, sets)
        check_labels(use, understood, pantry, sets)
        check_informed(understood, pantry)
        check_cost(use, request, pantry, sets, _count_points(request, pantry, earlier))
        check_refine(use, request, pantry, sets)
        yield RequestEcho(
            request=understood,
            pantry_digest=pantry.digest,
            adaptation_sets=sets,
            ingredients=[ingredient.name for ingredient in pantry.ingredients],
        )


def _repeated(use: Services, request: AdaptRequest, idempotency_key: str | None) -> Job | None:
    """The job that the same request for stored sets led to earlier; the id of an upload is not known yet."""
    if idempotency_key is None or request.adaptation_sets is None:
        return None
    earlier = use.jobs.by_key(idempotency_key)
    if earlier is None or earlier.body_digest != request_digest(request, request.adaptation_sets):
        return None
    return use.jobs.get(earlier.job_id)


def _as_accepted(job: Job) -> Job:
    """The job as it was when it was accepted: a worker may have claimed it since."""
    accepted = {"status": JobStatus.QUEUED, "is_terminal": False, "started_at": None, "attempt": 0}
    return job.model_copy(update=accepted | {"queue_position": job.queue_position or 0, "progress": Progress()})


def _check_sources(request: AdaptRequest, upload: Path | None) -> None:
    """Require either an uploaded set or stored ones, and allow a label map only for an upload."""
    if upload is None and request.adaptation_sets is None:
        raise InvalidRequest(
            "There is no adaptation set. Send a part 'adaptation_set', or name stored sets in adaptation_sets.",
            param="adaptation_set",
        )
    if upload is not None and request.adaptation_sets is not None:
        raise InvalidRequest(
            "There are two sources of images. Send either a part 'adaptation_set' or the field adaptation_sets.",
            param="adaptation_sets",
        )
    if upload is None and request.label_map is not None:
        raise InvalidRequest(
            "A stored set keeps the label_map that it came with. Leave label_map out, or store the set again with it.",
            param="label_map",
        )
    if len(set(request.adaptation_sets or ())) < len(request.adaptation_sets or ()):
        raise InvalidRequest("A set is named twice. Name each set once.", param="adaptation_sets")


def check_radii(request: AdaptRequest) -> None:
    """Check that no l_inf radius exceeds the range of pixels, as it would in units of 1/255.

    The document itself does not check this, so that requests accepted earlier stay readable.
    Raises InvalidRequest (``radius_too_large``).
    """
    for threat in request.threat_models:
        if threat.norm == "Linf" and threat.eps > 1:
            raise InvalidRequest(
                f"The radius {threat.eps:g} in Linf reaches further than pixels do, which are in [0, 1]: "
                f"did you mean {threat.eps:g}/255, which is {threat.eps / 255:.4g}?",
                param="objective",
                code="radius_too_large",
            )


def check_search(request: AdaptRequest, pantry: Pantry, limit: int, earlier: int = 0) -> None:
    """Count the points that the search may take, without enumerating them.

    Raises:
        InvalidRequest: it has none (``empty_lattice``), or more than ``limit`` (``too_many_points``), or its budget
            has an interval though there are several objectives.
    """
    count = _count_points(request, pantry, earlier)
    if count > limit:
        raise InvalidRequest(
            f"The search has {_large(count)} points; the limit is {limit}. Take a greater step, narrower bounds or "
            "convex weights.",
            param="search",
            code="too_many_points",
        )
    limits = request.search.limits(_space(request, pantry))
    if limits is not None and limits.interval is not None and request.objectives:
        raise InvalidRequest(
            "A search for a front is never settled by one of its objectives. Leave interval out of the budget.",
            param="search.budget.interval",
        )
    if limits is not None and earlier >= limits.evaluations:
        raise InvalidRequest(
            f"The earlier job has tried {earlier} soups, and they count: the budget allows {limits.evaluations}. "
            "Allow more evaluations.",
            param="search.budget.evaluations",
        )


def _space(request: AdaptRequest, pantry: Pantry) -> Space:
    with _possible():
        return request.search.space([each.name for each in pantry.ingredients])


def _count_points(request: AdaptRequest, pantry: Pantry, earlier: int) -> int:
    space = _space(request, pantry)
    with _possible():
        return most_soups(kind_of(request.search).bound(request.search, space), earlier, request.search.limits(space))


@contextmanager
def _possible() -> Iterator[None]:
    """Raises InvalidRequest where the block finds that there is no such search."""
    try:
        yield
    except LatticeError as error:
        raise InvalidRequest(f"The search has no points: {error}.", param="search", code=error.code) from error
    except SearchError as error:
        raise InvalidRequest(f"The search cannot be made: {error}.", param="search", code=error.code) from error


def check_cost(use: Services, request: AdaptRequest, pantry: Pantry, sets: Sequence[str], soups: int) -> None:
    """Check what the search of at most so many soups may cost.

    Raises InvalidRequest (``too_many_passes``) if it may take more than ``settings.max_passes`` forward passes of one
    image, or if its budget is less than one soup may take.
    """
    a_soup, limits = _passes_a_soup(use, request, pantry, sets), request.search.limits(_space(request, pantry))
    if limits is not None and limits.forward_passes is not None and limits.forward_passes < a_soup:
        raise InvalidRequest(
            f"One soup takes up to {_large(a_soup)} forward passes, more than the budget's {limits.forward_passes}. "
            "Allow more, or send fewer images, threats, steps or restarts.",
            param="search.budget.forward_passes",
        )
    passes = most_passes(use, request, pantry, sets, soups)
    if passes > use.settings.max_passes:
        raise InvalidRequest(
            f"The search may take {_large(passes)} forward passes; the limit is {use.settings.max_passes}. Send fewer "
            "images, or take fewer points, threats, steps or restarts.",
            param="search",
            code="too_many_passes",
        )


def most_passes(use: Services, request: AdaptRequest, pantry: Pantry, sets: Sequence[str], soups: int) -> int:
    """The most forward passes of one image that the search of so many soups may take, attacks included."""
    passes = _passes_a_soup(use, request, pantry, sets) * soups
    limits = request.search.limits(_space(request, pantry))
    return passes if limits is None or limits.forward_passes is None else min(passes, limits.forward_passes)


def _passes_a_soup(use: Services, request: AdaptRequest, pantry: Pantry, sets: Sequence[str]) -> int:
    """The most forward passes of one image that a soup takes, however it may be refined."""
    refinement = Refinement("source" if request.refine.statistics == "source" else "adapted")
    passes = 0
    for set_id in sets:
        stored = _open(use, set_id)
        classes = len(resolve(stored, pantry.label_names, pantry.num_classes).columns)
        passes += sum(_selected(stored, request)) * request.passes_an_image(classes, refinement)
    return passes


def _selected(stored: StoredSet, request: AdaptRequest) -> tuple[int, int]:
    """How many images with a label, and how many without, select the soup."""
    labelled, fraction = stored.document.labelled, request.held_out_fraction
    counts = labelled, len(stored) - labelled
    with_label, without = (count - round(fraction * count) for count in counts)
    return with_label, without


def check_refine(use: Services, request: AdaptRequest, pantry: Pantry, sets: Sequence[str]) -> None:
    """Check that the pantry and the labels of the sets allow the refinements asked for; see ``RefinementLimits``."""
    stored = [_open(use, set_id) for set_id in sets]
    labels = [resolve(each, pantry.label_names, pantry.num_classes) for each in stored]
    limits_of(pantry, labels, [_selected(each, request)[0] for each in stored]).check(request.refine)


def check_measured_sets(request: AdaptRequest, sets: Sequence[str]) -> None:
    """Check that objectives and constraints name only sets of the job, whose ids are ``sets``, each once.

    Raises InvalidRequest, whose message lists the sets.
    """
    for place, measured in request.measured.items():
        named = measured.adaptation_sets or []
        param = f"{place}.adaptation_sets"
        for other in (each for each in named if each not in sets):
            raise InvalidRequest(
                f"{place} is measured on the set {other}, which is none of the job's. Name some of "
                f"{', '.join(sets)}, or leave {param} out for all of them.",
                param=param,
            )
        if len(set(named)) < len(named):
            raise InvalidRequest(f"{place} names a set twice. Name each set once.", param=param)


def decided(use: Services, request: AdaptRequest, sets: Sequence[str]) -> AdaptRequest:
    """The request with the metric that ``auto`` stands for on these sets of the job."""
    counted = None if request.objective is None else request.objective.adaptation_sets
    selected = [_selected(_open(use, set_id), request) for set_id in counted or sets]
    labelled, unlabelled = (sum(counts) for counts in zip(*selected, strict=True))
    return request.decided(labelled=labelled, unlabelled=unlabelled)


def check_labels(use: Services, request: AdaptRequest, pantry: Pantry, sets: Sequence[str]) -> None:
    """Check that objectives and constraints have the labels, or the images without one, that they are measured on.

    Each set that one of them names must have some; otherwise any of the job's. A prior must be of its classes.
    Raises InvalidRequest (``labels_needed``, ``unlabelled_needed``, ``invalid_prior``).
    """
    stored = {set_id: _open(use, set_id) for set_id in sets}
    for place, measured in request.measured.items():
        named = measured.adaptation_sets
        if measured.metric == "mutual_information":
            _check_unlabelled(place, measured, [stored[set_id] for set_id in named or sets], pantry)
            continue
        labelled = [stored[set_id].document.labelled for set_id in named or sets]
        if all(labelled) if named else any(labelled):
            continue
        lacking = "a set that it names has none" if named else "no image of the job has one"
        otherwise = "" if place.startswith("constraints") else ", or take the metric mutual_information"
        raise InvalidRequest(
            f"{place} measures {measured.metric}, which needs labels, and {lacking}: label some images, in class "
            f"folders, in labels.json or in the labels of an npz{otherwise}.",
            param=f"{place}.adaptation_sets" if named else place,
            code="labels_needed",
        )


def check_informed(request: AdaptRequest, pantry: Pantry) -> None:
    """Check that mutual information is not asked for what no mean over images can: soups compared image by image.

    Raises InvalidRequest.
    """
    if not any(each.metric == "mutual_information" for each in request.ranked_by):
        return
    if request.search.drops_soups:
        raise InvalidRequest(
            "Soups that mutual_information chooses are read on all images, and so are not dropped before: leave out "
            "prune or race, or take the metric nll.",
            param="search",
        )
    budget = request.search.limits(_space(request, pantry))
    if budget is not None and budget.interval is not None:
        raise InvalidRequest(
            "search.budget.interval compares soups image by image, which mutual_information does not: leave it out, or "
            "take the metric nll.",
            param="search.budget.interval",
        )


def check_suggestions(use: Services, sets: Sequence[str]) -> None:
    """Check that there are images to label. Raises InvalidRequest (``unlabelled_needed``)."""
    if all(stored.document.labelled == len(stored) for stored in (_open(use, set_id) for set_id in sets)):
        raise InvalidRequest(
            "Every image has a label already. Send images without one, in the folder unlabelled/, or labelled -1 in an "
            "npz.",
            param="adaptation_set",
            code="unlabelled_needed",
        )


def _check_unlabelled(place: str, measured: Measured, sets: Sequence[StoredSet], pantry: Pantry) -> None:
    unlabelled = [each for each in sets if each.document.labelled < len(each)]
    if not unlabelled:
        raise InvalidRequest(
            f"{place} measures mutual_information, and every image has a label: take the metric nll, or add images "
            "without a label.",
            param=f"{place}.metric",
            code="unlabelled_needed",
        )
    for each in unlabelled:
        if isinstance(measured.prior, dict):
            prior_of(measured.prior, resolve(each, pantry.label_names, pantry.num_classes))


def _large(count: int) -> str:
    return f"{count}" if count < 10**12 else "more than 10^12"


def check_set(stored: StoredSet, request: AdaptRequest, pantry: Pantry) -> None:
    """Check that the pantry's models accept the images of a set, and that they can be scored and split as requested.

    Raises:
        InvalidSet: its classes or channels do not match the pantry's.
        InvalidRequest: ``held_out_fraction`` leaves no images on one side, of those with a label or of those without,
            or its labels allow no attack.
    """
    stored.check_channels(pantry.input_size[0])
    check_attackable(resolve(stored, pantry.label_names, pantry.num_classes), request.threat_models)
    labelled = stored.document.labelled
    for count, kind in ((labelled, "labelled images"), (len(stored) - labelled, "images without a label")):
        held_out = round(request.held_out_fraction * count)
        if count and request.held_out_fraction and not 1 <= held_out < count:
            raise InvalidRequest(
                f"held_out_fraction {request.held_out_fraction:g} of {count} {kind} leaves none on one side. "
                "Send more images or change the fraction.",
                param="held_out_fraction",
            )


@contextmanager
def _sets(
    use: Services, request: AdaptRequest, pantry: Pantry, upload: Path | None, *, keep: bool
) -> Iterator[list[str]]:
    """Ids of the request's sets, checked and kept until the job can refer to them.

    Without ``keep``, or if the block refuses the request, a set that came with it is removed again, unless another
    request uses it too.
    """
    if upload is None:
        ids = list(request.adaptation_sets or ())
        for set_id in ids:
            check_set(_open(use, set_id), request, pantry)
            use.sets.renew(set_id)
        yield ids
        return
    document, new = use.sets.admit(upload, request.label_map, lambda stored: check_set(stored, request, pantry))
    stays = keep
    try:
        yield [document.id]
    except SoupsearchError:  # after any other error, the job may exist all the same
        stays = False
        raise
    finally:
        if new and not stays:
            use.sets.discard(new)


def _pantry(use: Services, request: AdaptRequest) -> Pantry:
    with at_fault("pantry", PantryNotFound):
        return use.pantries.get(request.pantry)


def _open(use: Services, set_id: str) -> StoredSet:
    with at_fault("adaptation_sets", SetNotFound):
        return use.sets.open(set_id)


def request_digest(request: AdaptRequest, sets: list[str]) -> str:
    """Digest for an Idempotency-Key over the request's meaning, whatever its form on the wire.

    Defaults are left out, so that a later release with more fields still recognises a repeated request.
    """
    meaning = request.model_dump(mode="json", exclude_defaults=True)
    search = {**meaning.get("search", {}), "strategy": request.search.strategy}
    meaning |= {"adaptation_sets": sets, "search": search}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
