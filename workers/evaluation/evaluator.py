"""Scores of soups on images that stay in memory.

Measured on an AVX2 CPU with 28 x 28 images: a small ResNet ran 2.3 times faster with channels last, in both images and
kernels, a small ViT alike. Where several threads share an operation the last bits of logits may differ from one
thread's. bfloat16 pays on GPUs and on CPUs with bfloat16 instructions; elsewhere it was 8 times slower. What batch size
is the fastest depends on the CPU and the model: ``benchmarks/study_speed``.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import takewhile
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.evaluation.adversary import Adversary, Attack
from workers.evaluation.batches import Batch, ResidentImages
from workers.evaluation.errors import EvaluationStopped
from workers.evaluation.forward import ForwardPass
from workers.evaluation.labels import ImageScores
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.scores import ModelScore, SoupScore
from workers.evaluation.sets import EncodedSet
from workers.evaluation.streams import Streams
from workers.evaluation.tally import PointMonitor, Tally
from workers.soups.model import count_classes
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack

SoupWeights = Sequence[float] | NDArray[np.floating[Any]]
Stop = Callable[[], bool]
EndEarly = Callable[[Sequence[Tally]], bool]
STREAM_BATCH_SIZE = 64
"""Images that a stream scores at once: few, so that a hundred images are enough for two streams."""
AnyScore = TypeVar("AnyScore", bound=ModelScore)


class Evaluator:
    """Scores soups of ``stack`` on ``sets``, which stay on ``device`` between soups.

    Images go through the model in their order, in batches of ``batch_size`` that never span two sets, so a score
    depends on neither the evaluator nor what it evaluated before. On a CPU these are cut into batches of at most
    ``stream_batch_size`` images, of which as many go at once as there are threads, together no more than ``batch_size``
    images. ``threads`` sets PyTorch's CPU threads, for the whole process.

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
        stream_batch_size: int = STREAM_BATCH_SIZE,
        threads: int | None = None,
        soup: ResidentSoup | None = None,
        attacks: Sequence[Attack] = (),
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or stream_batch_size < 1:
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
        self.streams, self._scored = Streams(1, 1), self.images
        if self.soup.device.type == "cpu":
            self._scored = self.images.cut(stream_batch_size)
            self.streams = Streams(torch.get_num_threads(), min(len(self._scored), batch_size // stream_batch_size))
        self.forward = ForwardPass(model, self.soup.device, self.soup.precision, batch_size)
        if attacks and self.soup.precision != "float32":
            raise ValueError("attacks need gradients in float32: leave precision out")
        self.attacks, self.seed = tuple(attacks), seed
        self._adversary = self.adversary(model)
        self.nbytes = self.soup.stack.nbytes + sum(source.nbytes for source in self.sets)

    def evaluate(
        self,
        weights: SoupWeights,
        *,
        stop: Stop | None = None,
        monitor: PointMonitor | None = None,
        detail: bool = False,
        logits: bool = False,
        attack: bool = True,
    ) -> SoupScore:
        """Score the soup of ``weights``, shape (n,), on all images.

        ``stop`` is asked before each batch and ``monitor`` told after each, in the images' order; when either ends the
        point, the score is of the images seen and ``complete`` is False. ``detail`` keeps each image's result,
        ``logits`` its logits too.

        ``stop`` is also asked before each pass of an attack; attacks that did not end leave no outcome. With ``attack``
        False there are none.

        Raises ValueError for wrong weights, EvaluationMemoryError when not even one image fits into memory.
        """
        start = time.perf_counter()
        vector = self.soup.stack.soup_weights(weights)
        flags = self.soup.set_weights(vector)
        tallies = [Tally(size, keep_logits=logits) for size in self.images.sizes]
        end_early = _watched(monitor, vector) if monitor is not None else None
        complete = run(self.forward, self._scored, tallies, streams=self.streams, stop=stop, end_early=end_early)
        score = SoupScore(
            sets=tuple(tally.result(detail=detail or logits) for tally in tallies),
            finite=all(tally.finite for tally in tallies),
            complete=complete,
            weights=tuple(vector.tolist()),
            floored_channels=flags.floored_channels,
            seconds=0.0,
        )
        score = attacked(score, self._adversary if attack else None, stop)
        return replace(score, seconds=time.perf_counter() - start)

    def adversary(self, model: nn.Module) -> Adversary | None:
        """Who attacks ``model`` on this evaluator's images; None without attacks."""
        if not self.attacks:
            return None
        return Adversary(model, self.images, self.attacks, seed=self.seed, part_size=self.forward.part_size)

    def iter_evaluate(
        self, weights: Iterable[SoupWeights], stop: Stop | None = None, *, monitor: PointMonitor | None = None
    ) -> Iterator[SoupScore]:
        """Score soups one after the other, yielding each as it is done; ends, without the current one, on ``stop``."""
        for point in weights:
            score = self.evaluate(point, stop=stop, monitor=monitor)
            if not score.complete and stop is not None and stop():
                return
            yield score


def run(
    forward: ForwardPass,
    images: ResidentImages,
    tallies: Sequence[Tally],
    *,
    streams: Streams | None = None,
    stop: Stop | None = None,
    end_early: EndEarly | None = None,
) -> bool:
    """Score all batches of ``images`` into ``tallies``, one for each set; returns whether all were scored.

    Ends early before a batch when ``stop()``, and after one, unless it was the last, when ``end_early(tallies)``.
    Batches are tallied in order, whatever ``streams`` they were scored in.
    """

    def scored(batch: Batch) -> tuple[Batch, ImageScores, Tensor]:
        logits = forward(images.normalise(batch.images))
        return batch, batch.score(logits), logits

    batches = iter(images) if stop is None else takewhile(lambda _: not stop(), images)
    seen = 0
    with closing((streams or Streams(1, 1)).map(scored, batches)) as results:
        for batch, scores, logits in results:
            seen += 1
            tallies[batch.set_index].add(scores, logits)
            if end_early is not None and end_early(tallies):
                break
    return seen == len(images)


def attacked(score: AnyScore, adversary: Adversary | None, stop: Stop | None = None) -> AnyScore:
    """``score``, of the model that ``adversary`` attacks, with what its attacks leave right.

    A model that was not seen whole, or whose logits are not finite, is not attacked.
    """
    if adversary is None or not (score.complete and score.finite):
        return score
    try:
        robust, passes = adversary.robust(stop)
    except EvaluationStopped:
        return replace(score, complete=False)
    sets = tuple(replace(each, robust=flags) for each, flags in zip(score.sets, robust, strict=True))
    return replace(score, sets=sets, attacks=passes)


def _watched(monitor: PointMonitor, weights: NDArray[np.float64]) -> EndEarly:
    return lambda tallies: monitor(weights, [tally.running for tally in tallies])
