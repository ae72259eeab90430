import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from lab.study.plan import CURVE_WEIGHTS, all_soups, attacked_soups, curves, plan_pantry, simplices, stack_input
from tests.lab.study.conftest import NAMES, RESNET, TINY, MakeStudy, run_of


def test_the_whole_lattice_and_the_uniform_soup_are_scored(make_study: MakeStudy) -> None:
    soups, on_lattice = all_soups(make_study(lattice={}))
    assert (len(soups), int(on_lattice.sum())) == (481, 480)
    assert soups[~on_lattice].tolist() == [[0.25] * 4]


def test_a_lattice_without_the_ingredients_gets_them(make_study: MakeStudy) -> None:
    soups, on_lattice = all_soups(make_study(lattice={"lower": 0.1, "upper": 0.7, "step": 0.1}))
    assert np.array_equal(soups[~on_lattice][:4], np.eye(4))


def test_curves_are_affine_and_reach_beyond_their_ends() -> None:
    [curve] = curves(NAMES, [("linf", "l1")])
    assert CURVE_WEIGHTS == (-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
    assert curve[0] == (1.4, 0.0, -0.4, 0.0)
    assert curve[2] == (1.0, 0.0, 0.0, 0.0)
    assert all(sum(weights) == pytest.approx(1) for weights in curve)


def test_a_simplex_has_21_convex_points() -> None:
    [simplex] = simplices(NAMES, [("linf", "l1", "nominal")])
    assert len(set(simplex)) == 21
    assert all(sum(weights) == pytest.approx(1) and min(weights) >= 0 and weights[1] == 0 for weights in simplex)


def test_each_soup_is_attacked_once(make_study: MakeStudy) -> None:
    soups = attacked_soups(make_study(attacks={"images": 8}))
    assert len(soups) == len(set(soups)) == 4 + 6 * 8 + 4 * 6
    assert {tuple(row) for row in np.eye(4).tolist()} <= set(soups)


def test_names_follow_all_that_results_depend_on(make_study: MakeStudy, tmp_path: Path) -> None:
    """Change one thing at a time: whatever it touches must get another name, the rest must keep its own."""
    changes: list[dict[str, object]] = [
        {},
        {"seed": 1},
        {"precision": "bfloat16"},
        {"logits": "ingredients"},
        {"attacks": TINY["attacks"] | {"steps": 5}},
        {"data": TINY["data"] | {"held_out": 21}},
        {"data": TINY["data"] | {"table": "imagenet"}},
    ]
    names = [set(map(str, _names(make_study, tmp_path / "out", change))) for change in changes]
    scores = [{name for name in each if name.startswith("scores")} for each in names]
    attacks = [each - score for each, score in zip(names, scores, strict=True)]
    for first, second in itertools.combinations(range(len(changes)), 2):
        if 4 not in (first, second):
            assert not (scores[first] - _clean(scores[first])) & scores[second]
    assert scores[4] == scores[0]
    assert not attacks[4] & attacks[0]
    assert not attacks[1] & attacks[0]
    assert attacks[2] == attacks[0]
    assert _clean(scores[6]) == _clean(scores[0])


def _clean(names: set[str]) -> set[str]:
    return {name for name in names if "/clean/" in name}


def _names(make_study: MakeStudy, out: Path, change: dict[str, object]) -> list[str]:
    run, _ = run_of(make_study(**change), out)
    sets = run.prepare()
    plan = plan_pantry(run.config, run.config.pantries[0], sets["resnet"], run.store)
    return [job.name for job in plan.jobs]


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    shutil.copytree(RESNET, tmp_path / "pantry")
    folders = [tmp_path / "pantry" / name for name in NAMES]
    before = stack_input(folders, NAMES)
    assert before.digest == stack_input([RESNET / name for name in NAMES], NAMES).digest
    shutil.copy(RESNET / "l1/model.safetensors", folders[0] / "model.safetensors")
    assert stack_input(folders, NAMES).digest != before.digest


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train 'max' first"):
        stack_input([tmp_path / "max"], ["max"])
