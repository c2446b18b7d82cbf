"""Numbers of a run: schedules, epochs, and values that are refused."""

import pytest

from muybridge.errors import OptionError
from muybridge.training.fit_config import FitConfig, learning_rate_at, learning_rate_of_batch, steps_of_epochs


def test_learning_rate_schedule():
    config = FitConfig(steps=110, learning_rate=2.0, warmup=1 / 11, schedule="cosine")
    assert learning_rate_at(0, config) == 0
    assert learning_rate_at(5, config) == 1.0
    assert learning_rate_at(10, config) == 2.0
    assert learning_rate_at(60, config) == pytest.approx(1.0)
    assert learning_rate_at(110, config) == pytest.approx(0.0)


def test_the_schedule_of_acar_net():
    # arXiv 2006.07976: from 0.008 to 0.064 in the first of 6 epochs, a tenth at 5.6 and again at 5.8.
    per_epoch = 100
    config = FitConfig(
        steps=6 * per_epoch, learning_rate=0.064, optimizer="sgd", warmup=1 / 6, warmup_from=0.125,
        schedule="step",
    )  # fmt: skip
    expected = {0: 0.008, 50: 0.036, 100: 0.064, 559: 0.064, 560: 0.0064, 579: 0.0064, 580: 0.00064, 599: 0.00064}
    for step, rate in expected.items():
        assert learning_rate_at(step, config) == pytest.approx(rate)


def test_epochs_become_steps_with_their_warmup_and_validations():
    config = FitConfig(epochs=3, warmup=0.1, validations=4, batch_size=8).of(100)
    assert config.steps == 38  # 300 draws, 37.5 batches
    assert config.warmup_steps == 4
    assert config.validate_every == 10  # after 10, 20, 30 steps, and at the end
    assert config.batch_size == 8 and config.of(100) == config


def test_steps_stand_in_for_epochs():
    config = FitConfig(steps=7).of(1_000_000)
    assert (config.steps, config.warmup_steps, config.validate_every) == (7, 0, 0)


def test_epochs_are_rounded_up_to_whole_steps():
    assert steps_of_epochs(2, num_items=50, batch_size=16) == 7  # 100 draws, 6 steps make 96
    assert steps_of_epochs(1, num_items=3, batch_size=16) == 1


def test_the_paper_s_learning_rate_scales_with_the_batch():
    assert learning_rate_of_batch(1e-3, 256) == pytest.approx(1e-3)
    assert learning_rate_of_batch(1e-3, 64) == pytest.approx(2.5e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"steps": -1}, "steps=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"warmup": 1.5}, "warmup=1.5"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"warmup_from": 2.0}, "warmup_from=2.0"),
        ({"milestones": (0.5, 3)}, "milestones="),
    ],
)
def test_numbers_that_train_nothing_are_refused(change, says):
    with pytest.raises(OptionError, match=says):
        FitConfig(**change)


def test_a_run_needs_a_learning_rate():
    with pytest.raises(OptionError, match="learning_rate=0"):
        FitConfig(learning_rate=0).of(10)
