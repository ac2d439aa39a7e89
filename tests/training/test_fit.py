from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from hvit_cli.errors import DamagedFileError, LabelError, ModelError, RecipeError
from hvit_cli.settings import AggregatorSettings, Attention, TrainingSettings
from hvit_cli.training.bags import BagReader
from hvit_cli.training.cohort import list_features
from hvit_cli.training.fit import Training, fit, learning_rate, new_aggregator
from hvit_cli.training.folds import Fold, draw_fold
from hvit_cli.training.resume import resume_training, save_training

QUICK = TrainingSettings(
    epochs=4, learning_rate=2e-3, batch_slides=8, tune_fraction=0.25, mean_label_bias=True
)


def new_training(
    folder: Path,
    fold: Fold,
    aggregator: AggregatorSettings,
    settings: TrainingSettings = QUICK,
    attention: Attention = "masked",
) -> Training:
    network = new_aggregator(aggregator, settings, list(fold.train.values()))
    return Training(network, fold, BagReader(list_features(folder), attention), settings)


def weights(training: Training) -> dict[str, Tensor]:
    return training.aggregator.state_dict()


def assert_same_bits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cohort: SimpleNamespace) -> Path:
    folder: Path = tmp_path_factory.mktemp("features")
    cohort.write_cohort(folder, 36)
    return folder


@pytest.fixture
def fold() -> Fold:
    return draw_fold({f"slide{i:03d}": i % 6 for i in range(36)}, 0.25, 0)


def test_it_learns_the_grade_from_tissue_within_seconds(
    tmp_path: Path, cohort: SimpleNamespace, tiny: AggregatorSettings
) -> None:
    labels = cohort.write_cohort(tmp_path, 96)
    settings = dataclasses.replace(QUICK, epochs=15)
    training = new_training(tmp_path, draw_fold(labels, 0.25, 0), tiny, settings)
    records = list(fit(training))
    assert [record.epoch for record in records] == list(range(1, 16))
    kappas = [record.tune_kappa or 0 for record in records]
    assert max(kappas) > 0.85
    best = [record for record in records if record.best][-1]
    assert best.tune_kappa == max(kappas)
    training.aggregator.load_state_dict(training.best_weights)
    again = training.score(list(draw_fold(labels, 0.25, 0).tune))
    assert abs(again - list(draw_fold(labels, 0.25, 0).tune.values())).mean() == pytest.approx(
        best.tune_mae, abs=1e-6
    )


def test_plain_attention_learns_from_a_confounder_on_glass_and_masked_cannot(
    tmp_path: Path, cohort: SimpleNamespace, tiny: AggregatorSettings
) -> None:
    def make(slide_id: str, grade: int) -> object:
        return cohort.slide_features(slide_id, grade, signal="background")

    labels = cohort.write_cohort(tmp_path, 96, make)
    fold = draw_fold(labels, 0.25, 0)
    settings = dataclasses.replace(QUICK, epochs=12)
    kappas = {}
    for attention in ("plain", "masked"):
        records = list(fit(new_training(tmp_path, fold, tiny, settings, attention)))
        kappas[attention] = records[-1].tune_kappa or 0
    assert kappas["plain"] > 0.8
    assert abs(kappas["masked"]) < 0.5


def test_masked_training_is_blind_to_background_bit_for_bit(
    tmp_path: Path, folder: Path, fold: Fold, cohort: SimpleNamespace, tiny: AggregatorSettings
) -> None:
    def other_glass(slide_id: str, grade: int) -> object:
        return cohort.slide_features(slide_id, grade, background_scale=-40.0)

    def no_glass(slide_id: str, grade: int) -> object:
        return cohort.slide_features(slide_id, grade, patches="tissue")

    settings = dataclasses.replace(QUICK, epochs=2)
    wanted = new_training(folder, fold, tiny, settings)
    list(fit(wanted))
    for name, make in (("scaled", other_glass), ("absent", no_glass)):
        cohort.write_cohort(tmp_path / name, 36, make)
        training = new_training(tmp_path / name, fold, tiny, settings)
        list(fit(training))
        assert_same_bits(weights(training), weights(wanted))


def test_the_same_settings_give_the_same_weights_and_another_seed_others(
    folder: Path, fold: Fold, tiny: AggregatorSettings
) -> None:
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed + 17 * len(runs))  # the caller's randomness must not matter
        training = new_training(folder, fold, tiny, dataclasses.replace(QUICK, epochs=2, seed=seed))
        records = list(fit(training))
        runs.append((weights(training), [dataclasses.replace(r, seconds=0) for r in records]))
    assert_same_bits(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert runs[0][1] != runs[2][1]


def test_training_leaves_the_callers_randomness_alone(
    folder: Path, fold: Fold, tiny: AggregatorSettings
) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    list(fit(new_training(folder, fold, tiny, dataclasses.replace(QUICK, epochs=1))))
    assert torch.equal(torch.rand(3), wanted)


def test_a_run_resumed_from_its_file_ends_with_the_same_weights(
    tmp_path: Path, folder: Path, fold: Fold, tiny: AggregatorSettings
) -> None:
    recipe = {"settings": {"a": 1}, "inputs": {}}
    whole = new_training(folder, fold, tiny)
    wanted = list(fit(whole))
    file = tmp_path / "training_state.pt"
    for stop in (1, 3):
        stopped = new_training(folder, fold, tiny)
        assert not resume_training(file.with_name("absent.pt"), stopped, recipe)
        for record in fit(stopped, lambda run: save_training(file, run, recipe)):
            if record.epoch == stop:
                break
        resumed = new_training(folder, fold, tiny)
        assert len(resume_training(file, resumed, recipe)) == stop
        list(fit(resumed))
        assert_same_bits(weights(resumed), weights(whole))
        assert_same_bits(resumed.best_weights, whole.best_weights)
        assert [dataclasses.replace(r, seconds=0) for r in resumed.records] == [
            dataclasses.replace(r, seconds=0) for r in wanted
        ]


def test_the_state_of_another_run_and_a_damaged_one_are_refused(
    tmp_path: Path, folder: Path, fold: Fold, tiny: AggregatorSettings
) -> None:
    file = tmp_path / "training_state.pt"
    training = new_training(folder, fold, tiny)
    save_training(file, training, {"settings": {"epochs": 50}, "inputs": {}})
    with pytest.raises(RecipeError, match=r"settings\.epochs: 50 → 60"):
        resume_training(file, training, {"settings": {"epochs": 60}, "inputs": {}})
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"not a state"):
        file.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="saved state is not what was written"):
            resume_training(file, training, {})


def test_freezing_the_region_transformer_keeps_it_bit_for_bit(
    folder: Path, fold: Fold, tiny: AggregatorSettings
) -> None:
    changed = {}
    for freeze in ("none", "region"):
        settings = dataclasses.replace(QUICK, epochs=1, freeze=freeze)
        training = new_training(folder, fold, tiny, settings)
        before = {name: tensor.clone() for name, tensor in weights(training).items()}
        list(fit(training))
        changed[freeze] = {n for n, t in weights(training).items() if not torch.equal(t, before[n])}
    assert changed["none"] == set(before)
    assert changed["region"] == {n for n in before if n.startswith("slide_transformer.")}


def test_a_memory_too_small_for_any_slide_changes_no_weight(
    folder: Path, fold: Fold, tiny: AggregatorSettings
) -> None:
    settings = dataclasses.replace(QUICK, epochs=1)
    network = [new_aggregator(tiny, settings, [0, 5]) for _ in range(2)]
    for aggregator, cache_bytes in zip(network, (0, 1 << 20), strict=True):
        read = BagReader(list_features(folder), "masked", cache_bytes)
        list(fit(Training(aggregator, fold, read, settings)))
    assert_same_bits(network[0].state_dict(), network[1].state_dict())


def test_the_learning_rate_halves_every_twenty_epochs() -> None:
    settings = TrainingSettings()
    wanted = {1: 2e-4, 20: 2e-4, 21: 1e-4, 40: 1e-4, 41: 5e-5, 50: 5e-5}
    assert {epoch: learning_rate(settings, epoch) for epoch in wanted} == wanted


def test_slides_of_one_grade_teach_nothing(folder: Path, tiny: AggregatorSettings) -> None:
    fold = Fold(train={"slide000": 0, "slide006": 0}, tune={"slide001": 1}, origin="by hand")
    with pytest.raises(LabelError, match=r"one grade.*2 slides of grade 0"):
        new_training(folder, fold, tiny)


def test_a_loss_that_is_no_number_ends_the_training(
    folder: Path, fold: Fold, tiny: AggregatorSettings
) -> None:
    settings = dataclasses.replace(QUICK, learning_rate=1e30)
    with pytest.raises(ModelError, match=r"diverged.*--learning-rate"):
        list(fit(new_training(folder, fold, tiny, settings)))


def test_the_last_bias_starts_near_zero_unless_asked(tiny: AggregatorSettings) -> None:
    plain = new_aggregator(tiny, TrainingSettings(), [1, 4])
    assert abs(plain.slide_transformer.classifier.bias.item()) <= 16**-0.5
    asked = new_aggregator(tiny, TrainingSettings(mean_label_bias=True), [1, 4])
    assert asked.slide_transformer.classifier.bias.item() == 2.5
