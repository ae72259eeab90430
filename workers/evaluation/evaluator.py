"""Soups on images that stay in memory.

Measured on an AVX2 CPU with 28 x 28 images: a small ResNet ran 2.3 times faster with channels last, in both images and
kernels, a small ViT alike. Where several threads share an operation the last bits of logits may differ from one
thread's. bfloat16 pays on GPUs and on CPUs with bfloat16 instructions; elsewhere it was 8 times slower. What batch size
is the fastest depends on the CPU and the model: ``benchmarks/study_speed``.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.evaluation import EvaluationRequest, LayerWeights, Outcome, Passes, SetOutcome, Status
from workers.attacks.attack import Attack
from workers.evaluation.adversary import Adversary
from workers.evaluation.batches import Batch, ResidentImages
from workers.evaluation.ensemble import EnsembleModel
from workers.evaluation.errors import EvaluationStopped, Stop
from workers.evaluation.forward import ForwardPass
from workers.evaluation.gradient import GradientPass
from workers.evaluation.labels import ImageOutcomes
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.refined import RefinedSoups
from workers.evaluation.sets import EncodedSet
from workers.evaluation.streams import Streams
from workers.evaluation.tally import Tally
from workers.refinement.reading import SoupReader
from workers.soups.model import count_classes
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack, SoupWeights

Drops = Callable[[Sequence[SetOutcome]], bool]
"""Whether a soup with these outcomes on the images seen so far is dropped; see ``search.evaluation.Bar``."""
STREAM_BATCH_SIZE = 64
"""Images that one of several streams scores at once: few, so that a hundred images are enough for two streams."""
LONE_BATCH_SIZES: dict[Precision, int] = {"float32": 128, "bfloat16": 256}
"""Images that a single thread scores at once: the fastest size for the shipped pantries, or nearly so."""


class Evaluator:
    """Evaluates soups of ``stack`` on ``sets``, which stay on ``device`` between soups.

    Images go through the model in their order, in blocks of ``batch_size`` that never span two sets. An outcome is put
    together from those of its blocks, so it depends neither on the evaluator, nor on what it evaluated before, nor on
    how the blocks were shared among evaluators. On a CPU these are cut into batches of at most
    ``stream_batch_size`` images, of which as many go at once as there are threads, together no more than ``batch_size``
    images; by default more at once on a single thread. ``threads`` sets PyTorch's CPU threads, for the whole process.

    Pass ``soup`` to share a resident model of the same stack between evaluators; its device and precision then hold.
    With ``attacks`` (in float32 alone) each soup that is scored whole is attacked by them too, from random starts that
    ``seed`` gives.

    Raises ValueError when a set does not fit the model, or the attacks, or a batch has no image.
    """

    def __init__(
        self,
        stack: IngredientStack,
        sets: Sequence[EncodedSet],
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        batch_size: int = 256,
        stream_batch_size: int | None = None,
        threads: int | None = None,
        soup: ResidentSoup | None = None,
        attacks: Sequence[Attack] = (),
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or (stream_batch_size is not None and stream_batch_size < 1):
            raise ValueError("batch_size and stream_batch_size are numbers of images: let them be 1 or more")
        if threads is not None:
            torch.set_num_threads(threads)
        self.soup = soup if soup is not None else ResidentSoup(stack, device, precision)
        self.sets = tuple(sets)
        model = self.soup.model
        self.images = ResidentImages(
            self.sets,
            DataConfig.of_model(model),
            self.soup.device,
            num_classes=count_classes(model),
            batch_size=batch_size,
        )
        self.streams, self._blocks = Streams(1, 1), [[batch] for batch in self.images]
        if self.soup.device.type == "cpu":
            threads = torch.get_num_threads()
            cut = stream_batch_size or (STREAM_BATCH_SIZE if threads > 1 else LONE_BATCH_SIZES[self.soup.precision])
            self._blocks = self.images.cut(cut)
            count = sum(map(len, self._blocks))
            self.streams = Streams(threads, min(count, batch_size // cut))
        self.batch_size = batch_size
        self.forward = ForwardPass(model, self.soup.device, self.soup.precision, batch_size)
        if attacks and self.soup.precision != "float32":
            raise ValueError("attacks need gradients in float32: leave precision out")
        self.attacks, self.seed = tuple(attacks), seed
        self._adversary = self._adversary_of(model)
        reader = SoupReader(self.forward, self.images, list(chain.from_iterable(self._blocks)), self.streams)
        self._refined = RefinedSoups(self.soup, self.sets, reader)
        self.nbytes = self.soup.stack.nbytes + sum(source.nbytes for source in self.sets)

    @property
    def blocks(self) -> int:
        """Number of blocks of images, over all sets."""
        return len(self._blocks)

    def evaluate(
        self,
        weights: SoupWeights,
        *,
        stop: Stop | None = None,
        attacked: bool = True,
        keep_logits: bool = False,
    ) -> Outcome:
        """Evaluate the soup of ``weights`` on all images; see ``answer``."""
        model = weights if isinstance(weights, LayerWeights) else tuple(np.asarray(weights, dtype=np.float64).tolist())
        return self.answer(EvaluationRequest(model, attacked=attacked, keep_logits=keep_logits), stop)

    def answer(self, request: EvaluationRequest, stop: Stop | None = None, drops: Drops | None = None) -> Outcome:
        """Evaluate the model of ``request`` on its blocks.

        ``stop`` is asked before each batch and before each pass of an attack; when it ends the evaluation, the outcome
        is ``stopped``. On a visit ``drops`` is asked after each step and each attack on it, but the last; when it drops
        the soup, the outcome is ``pruned``. A model whose logits are not finite is not attacked. With a refinement, the
        outcome is that of the refined soup, cross-validated: see ``RefinedSoups``.

        Raises ValueError for wrong weights; for a visit of a part of the images; for a refinement of an ensemble, under
        attack, on a part of the images, or that the model or the labels do not allow; for the gradient of an ensemble,
        of a refined soup, on a visit, in bfloat16, or of a model that does not allow it; EvaluationMemoryError when not
        even one image fits into memory.
        """
        start = time.perf_counter()
        if request.gradient:
            _check_differentiable(request)
        if request.refinement.changes_anything:
            return replace(self._answer_refined(request, stop), seconds=time.perf_counter() - start)
        floored = 0
        if isinstance(request.model, str):
            model: nn.Module = EnsembleModel(self.soup.ingredients(), request.model)
            forward = ForwardPass(model, self.soup.device, self.soup.precision, self.batch_size)
            adversary = self._adversary_of(model)
        else:
            floored = self.soup.set_weights(request.model).floored_channels
            forward, adversary = self.forward, self._adversary
        visit = request.visit
        if visit is not None and request.blocks not in {None, (0, self.blocks)}:
            raise ValueError("a visit is of all images: leave blocks out")
        blocks = slice(*(request.blocks or (0, self.blocks)))
        attacked = self.images.batches[blocks] if visit is None else self.images.visited(visit)
        batches = [batch for block in self._blocks[blocks] for batch in block] if visit is None else attacked
        drops = None if visit is None else drops
        outcome = self._clean(forward, batches, request, stop=stop, drops=drops)
        if request.attacked and adversary is not None and outcome.status == "complete":
            order = () if visit is None else visit.attacks
            outcome = _attacked(outcome, adversary, attacked, stop=stop, drops=drops, order=order)
        if visit is not None and outcome.is_whole:
            outcome = outcome.of_images([np.argsort(rows) for rows in visit.rows(len(self.sets))])
        return replace(outcome, floored_channels=floored, seconds=time.perf_counter() - start)

    def answers(
        self, requests: Sequence[EvaluationRequest], stop: Stop | None = None, drops: Drops | None = None
    ) -> Iterator[Outcome]:
        """Answer one request after the other, yielding each outcome as it is known; ends early on ``stop``."""
        for request in requests:
            outcome = self.answer(request, stop, drops)
            if outcome.status == "stopped":
                return
            yield outcome

    def _answer_refined(self, request: EvaluationRequest, stop: Stop | None) -> Outcome:
        if isinstance(request.model, str):
            raise ValueError("an ensemble is not refined: ask for a soup")
        if request.attacked and self.attacks:
            raise ValueError("with threats nothing is refined: leave out the refinement, or the attacks")
        if request.blocks not in {None, (0, self.blocks)}:
            raise ValueError("a refinement is learnt from all images: leave blocks out")
        return self._refined.outcome(request.model, request.refinement, stop, keep_logits=request.keep_logits)

    def _clean(
        self,
        forward: ForwardPass,
        batches: Sequence[Batch],
        request: EvaluationRequest,
        *,
        stop: Stop | None,
        drops: Drops | None,
    ) -> Outcome:
        tallies = [
            Tally(len(source), is_labelled=source.accepted is not None, keep_logits=request.keep_logits)
            for source in self.sets
        ]
        total, is_dropped = sum(map(len, self.sets)), False

        def look(seen: int) -> None:
            nonlocal is_dropped
            if drops is not None and not is_dropped and seen < total:
                is_dropped = drops([tally.result() for tally in tallies])

        def ends() -> bool:
            return is_dropped or (stop is not None and stop())

        if request.gradient:
            read = partial(self._gradient_pass, by_layer=isinstance(request.model, LayerWeights))
            with self._gradient_pass.weights.recorded():
                is_read = run(read, self.images, batches, tallies, streams=self.streams, stop=stop)
        else:
            clean = clean_reader(forward)
            is_read = run(clean, self.images, batches, tallies, streams=self.streams, stop=ends, on_batch=look)
        sets = tuple(tally.result() for tally in tallies)
        finite = all(tally.finite for tally in tallies)
        status: Status = "complete" if finite else "not_finite"
        if is_dropped or not is_read:
            status = "pruned" if is_dropped else "stopped"
        if not finite:
            sets = tuple(replace(each, gradients=None) for each in sets)
        backward = sum(each.seen for each in sets if each.gradients is not None)
        return Outcome(status, sets, Passes(sum(each.seen for each in sets), backward))

    @cached_property
    def _gradient_pass(self) -> GradientPass:
        return GradientPass(self.soup, self.batch_size)

    def _adversary_of(self, model: nn.Module) -> Adversary | None:
        if not self.attacks:
            return None
        return Adversary(model, self.images, self.attacks, seed=self.seed, part_size=self.forward.part_size)


BatchReader = Callable[[Tensor, Batch], tuple[Tensor, NDArray[np.float64] | None]]
"""Takes the normalised images of a batch to logits, float32 (N, classes), and the gradient if that was asked for."""


def clean_reader(forward: ForwardPass) -> BatchReader:
    """Reads logits alone."""
    return lambda inputs, _: (forward(inputs), None)


def run(
    reader: BatchReader,
    images: ResidentImages,
    batches: Sequence[Batch],
    tallies: Sequence[Tally],
    *,
    streams: Streams | None = None,
    stop: Stop | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> bool:
    """Read ``batches`` of ``images`` by ``reader`` into ``tallies``, one for each set; returns whether all were read.

    Ends early before a batch when ``stop()``. ``on_batch`` is told the number of images after each batch. Batches are
    tallied in order, whatever ``streams`` they were read in.
    """

    def read(batch: Batch) -> tuple[Batch, ImageOutcomes, Tensor, NDArray[np.float64] | None]:
        logits, gradient = reader(images.normalise(batch.images), batch)
        return batch, batch.outcomes(logits), logits, gradient

    wanted = iter(batches) if stop is None else takewhile(lambda _: not stop(), batches)
    read_batches = read_images = 0
    with closing((streams or Streams(1, 1)).map(read, wanted)) as results:
        for batch, outcomes, logits, gradient in results:
            read_batches += 1
            read_images += len(batch.images)
            tallies[batch.set_index].add(outcomes, logits, gradient)
            if on_batch is not None:
                on_batch(read_images)
    return read_batches == len(batches)


def _check_differentiable(request: EvaluationRequest) -> None:
    if isinstance(request.model, str):
        raise ValueError("an ensemble has no soup weights to differentiate by: ask for a soup")
    if request.refinement.changes_anything:
        raise ValueError("what a refinement learns is not differentiated: leave out the refinement, or the gradient")
    if request.visit is not None:
        raise ValueError("a gradient is of all images: leave out the visit, or the gradient")


def _attacked(
    outcome: Outcome,
    adversary: Adversary,
    batches: Sequence[Batch],
    *,
    stop: Stop | None,
    drops: Drops | None,
    order: Sequence[int],
) -> Outcome:
    """``outcome`` with the images that stay robust; until an attack has reached an image, it counts as robust."""
    count = len(adversary.attacks)
    robust = [np.repeat(each.right[None], count, axis=0) for each in outcome.sets]
    sets = tuple(replace(each, robust=flags) for each, flags in zip(outcome.sets, robust, strict=True))
    seen: Counter[tuple[int, int]] = Counter()
    passes, left = outcome.passes, count * len(batches)
    if drops is not None and drops(sets):
        return replace(outcome, status="pruned")
    try:
        for attack, index, flags, spent in adversary.robust(batches, stop, order):
            first = seen[attack, index]
            seen[attack, index] += len(flags)
            robust[index][attack, first : first + len(flags)] = flags
            passes, left = passes + spent, left - 1
            if left and drops is not None and drops(sets):
                return replace(outcome, status="pruned", sets=sets, passes=passes)
    except EvaluationStopped:
        return replace(outcome, status="stopped")
    return replace(outcome, sets=sets, passes=passes)
