"""Fine-tuning at several learning rates and seeds, averaged."""

import logging
import pickle

import pytest
import torch
from torch import Tensor

from smat.adaptation import FineTuneConfig, FineTuning, averaged, default_grid, tuned_models
from smat.errors import ConfigError, NonFiniteError
from smat.heads import TaskModel
from tasks import task, tuning_of

RATES = (1e-4, 1e-2)


def small(steps: int = 2, **config: object) -> tuple[FineTuning, TaskModel, Tensor]:
    model, images, labels = task(dtype=torch.float32)
    settings = FineTuneConfig(**({"steps": steps, "grid": RATES} | config))  # type: ignore[arg-type]
    return tuning_of(images, labels, kind="full", config=settings, seed=3), model, images


def probabilities(model: torch.nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).double().softmax(1)


def test_the_average_of_one_setting_is_that_setting() -> None:
    tuning, model, images = small(grid=(1e-2,), seeds=1)
    found, expected = averaged(tuning, model), tuning.adapt(model, 1e-2)
    assert found.rates == (1e-2,)
    assert all(torch.equal(v, expected.state_dict()[n]) for n, v in found.first.state_dict().items())
    torch.testing.assert_close(probabilities(found, images), probabilities(expected, images))


def test_probabilities_are_the_mean_over_rates_and_seeds() -> None:
    tuning, model, images = small(seeds=2)
    seen: list[tuple[int, int]] = []
    found = averaged(tuning, model, lambda *step: seen.append(step))
    assert found.rates == (1e-4, 1e-4, 1e-2, 1e-2)
    assert seen == [(done, 8) for done in range(1, 9)]
    each = torch.stack([probabilities(member, images) for member in found.members])
    assert torch.equal(each[2], probabilities(tuning.adapt(model, 1e-2), images))
    assert not torch.equal(each[2], each[3])
    torch.testing.assert_close(probabilities(found, images), each.mean(0))
    again = pickle.loads(pickle.dumps(found))
    assert torch.equal(probabilities(again, images), probabilities(found, images))
    assert (found.way, found.tuned) == (3, sum(p.numel() for p in model.backbone.parameters()))
    assert torch.equal(found.merge_weights, model.merge_weights)
    assert found.backbone is found.first.backbone


def test_a_rate_that_breaks_the_network_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    tuning, model, _ = small(grid=(1e-4, 1e30), seeds=1)
    with caplog.at_level(logging.WARNING):
        assert averaged(tuning, model).rates == (1e-4,)
    assert "learning rate 1e+30 broke the network: it is left out" in caplog.text
    tuning, model, _ = small(grid=(1e30,), seeds=1)
    with pytest.raises(NonFiniteError, match=r"full.* at every learning rate \(1e\+30\): give smaller"):
        averaged(tuning, model)


def test_one_network_is_made_at_a_time_and_the_model_stays() -> None:
    tuning, model, images = small()
    before = probabilities(model, images)
    models = tuned_models(tuning, model)
    assert next(models)[0] == 1e-4
    assert torch.equal(probabilities(model, images), before)


def test_the_default_takes_less_than_half_as_many_fits_as_a_choice() -> None:
    fits = len(default_grid("average")) * FineTuneConfig.seeds
    assert fits == 6
    assert default_grid("support") == default_grid(1e-3) == FineTuneConfig.grid
    with pytest.raises(ConfigError, match="seeds is 0; expected 1 or more"):
        FineTuneConfig(seeds=0)
