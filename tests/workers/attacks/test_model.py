import pytest
import timm
import torch
from torch import nn

from workers.attacks.model import ColumnModel, NormalizedModel, correct, device_of, evaluating
from workers.evaluation.labels import LabelSpace


def test_normalises_each_channel_as_the_data_config_says() -> None:
    model = NormalizedModel.from_data_config(nn.Flatten(), {"mean": (0.5, 0.25), "std": (0.5, 0.25)})
    images = torch.tensor([[[[1.0]], [[1.0]]], [[[0.5]], [[0.0]]]])
    assert model(images).tolist() == [[1.0, 3.0], [0.0, -1.0]]


def test_wraps_a_timm_model_with_its_own_config() -> None:
    network = timm.create_model("resnet10t", num_classes=4).eval()
    model = NormalizedModel.from_data_config(network, network.pretrained_cfg).eval()
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(model(images), network((images - mean) / std))


def test_the_normalisation_is_no_part_of_the_weights() -> None:
    inner = nn.Linear(2, 2)
    names = set(NormalizedModel(inner, [0.0], [1.0]).state_dict())
    assert names == {f"model.{name}" for name in inner.state_dict()}


def test_refuses_what_cannot_normalise() -> None:
    with pytest.raises(ValueError, match="one number a channel"):
        NormalizedModel(nn.Identity(), [0.5, 0.5], [1.0])
    with pytest.raises(ValueError, match="positive"):
        NormalizedModel(nn.Identity(), [0.5], [0.0])


def test_logits_that_are_not_finite_are_never_right() -> None:
    logits = torch.tensor([[2.0, 1.0], [torch.nan, 1.0], [torch.inf, 1.0], [0.0, 1.0]])
    assert correct(logits, torch.tensor([0, 0, 0, 0])).tolist() == [True, False, False, False]


def test_modes_come_back_after_evaluating_even_after_an_error() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    model[1].eval()
    with evaluating(model):
        assert not model[0].training
    with pytest.raises(ValueError, match="expected 2D or 3D"), evaluating(model):
        model(torch.zeros(()))
    assert [model.training, model[0].training, model[1].training] == [True, True, False]


def test_device_of_a_model_without_parameters_is_that_of_its_input() -> None:
    assert device_of(nn.Flatten(), torch.device("meta")) == torch.device("meta")
    assert device_of(nn.Linear(1, 1), torch.device("meta")) == torch.device("cpu")


def test_columns_score_as_the_label_space_scores() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    columns = [(0, 3), (1,), (4, 2, 3)]
    found = ColumnModel(nn.Identity(), columns)(logits)
    torch.testing.assert_close(found.double(), LabelSpace(columns, 5).log_scores(logits))


def test_columns_of_one_class_are_its_logits() -> None:
    logits = torch.randn(2, 5)
    assert torch.equal(ColumnModel(nn.Identity(), [(4,), (1,)])(logits), logits[:, [4, 1]])
