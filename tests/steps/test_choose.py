from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvit_cli.demo.model import demo_model_folder
from hvit_cli.errors import ModelError, UsageError
from hvit_cli.settings import Attention, MaskLevel
from hvit_cli.steps.choose import ModelRequest, choose_model
from hvit_cli.storage.models import MODEL_FILE
from hvit_cli.storage.work import WorkFolder


def copy_of_demo(folder: Path, name: str, attentions: tuple[str, ...] = ("masked",)) -> Path:
    """The bundled model under another name, with some of its members."""
    folder.mkdir(parents=True)
    for file in demo_model_folder().iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    description = json.loads((folder / MODEL_FILE).read_text())
    description["name"] = name
    description["members"] = [m for m in description["members"] if m["attention"] in attentions]
    (folder / MODEL_FILE).write_text(json.dumps(description))
    return folder


def test_a_single_slide_without_any_model_gets_the_demonstration_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = choose_model(ModelRequest(), WorkFolder(tmp_path), slides=1)
    assert chosen.is_demo
    assert chosen.attention == "masked"
    assert "not for diagnosis" in chosen.note
    assert "not for diagnosis" in chosen.folder.watermark
    assert "means nothing on real tissue" in caplog.text


def test_for_many_slides_the_demonstration_model_must_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--model demo"):
        choose_model(ModelRequest(), WorkFolder(tmp_path), slides=2)
    assert choose_model(ModelRequest(model="demo"), WorkFolder(tmp_path), slides=2).is_demo


def test_the_only_model_of_the_work_folder_is_taken(tmp_path: Path) -> None:
    copy_of_demo(tmp_path / "models" / "ours", "ours")
    chosen = choose_model(ModelRequest(), WorkFolder(tmp_path), slides=2)
    assert chosen.folder.name == "ours"
    assert not chosen.is_demo


@pytest.mark.parametrize("level", ["both", "patch"])
def test_a_model_of_masked_tokens_runs_with_its_own_attention_alone(
    tmp_path: Path, level: MaskLevel
) -> None:
    fits: Attention = "masked" if level == "both" else "plain"
    other: Attention = "plain" if level == "both" else "masked"
    folder = copy_of_demo(tmp_path / "m", "m", (fits,))
    description = json.loads((folder / MODEL_FILE).read_text())
    (folder / MODEL_FILE).write_text(json.dumps({**description, "mask_level": level}))
    work = WorkFolder(tmp_path)
    for said in (None, level):
        chosen = choose_model(ModelRequest(model=str(folder), mask_level=said), work, slides=1)
        assert (chosen.folder.mask_level, chosen.attention) == (level, fits)
    with pytest.raises(UsageError, match=f"--mask-level {level} and --{other} contradict"):
        choose_model(ModelRequest(model=str(folder), attention=other), work, slides=1)
    with pytest.raises(UsageError, match=f"found region; wanted {level}"):
        choose_model(ModelRequest(model=str(folder), mask_level="region"), work, slides=1)
    with pytest.raises(UsageError, match=f"found {level}; wanted region"):
        choose_model(ModelRequest(model="demo", mask_level=level), work, slides=1)


def test_an_unknown_mask_level_of_a_model_is_refused(tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m", "m")
    description = json.loads((folder / MODEL_FILE).read_text())
    (folder / MODEL_FILE).write_text(json.dumps({**description, "mask_level": "token"}))
    with pytest.raises(ModelError, match="no such mask level"):
        choose_model(ModelRequest(model=str(folder)), WorkFolder(tmp_path), slides=1)


def test_of_several_models_none_is_guessed(tmp_path: Path) -> None:
    copy_of_demo(tmp_path / "models" / "a", "a")
    copy_of_demo(tmp_path / "models" / "b", "b")
    with pytest.raises(UsageError, match=r"found a, b; try --model"):
        choose_model(ModelRequest(), WorkFolder(tmp_path), slides=1)


def test_the_attention_asked_for_picks_the_member_trained_with_it(tmp_path: Path) -> None:
    for attention in ("masked", "plain"):
        chosen = choose_model(
            ModelRequest(model="demo", attention=attention),  # type: ignore[arg-type]
            WorkFolder(tmp_path),
            slides=1,
        )
        assert {member.attention for member in chosen.members} == {attention}


def test_another_attention_than_the_trained_one_runs_and_is_noted(tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m", "m", ("plain",))
    chosen = choose_model(
        ModelRequest(model=str(folder), attention="masked"), WorkFolder(tmp_path), slides=1
    )
    assert chosen.attention == "masked"
    assert chosen.note.endswith("trained with plain attention, run with masked")


@pytest.mark.parametrize(
    "description",
    ["", "[]", "{}", '{"kind": "hvit-model", "schema": 99}', "{not json", '{"kind": 1}'],
)
def test_a_broken_description_is_one_line(description: str, tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_text(description)
    with pytest.raises(ModelError) as caught:
        choose_model(ModelRequest(model=str(tmp_path)), WorkFolder(tmp_path), slides=1)
    assert MODEL_FILE in str(caught.value)


def test_weights_outside_the_model_folder_are_refused(tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "m", "m")
    description = json.loads((folder / MODEL_FILE).read_text())
    description["members"][0]["file"] = "../../secret.safetensors"
    (folder / MODEL_FILE).write_text(json.dumps(description))
    with pytest.raises(ModelError, match="must lie in the model's folder"):
        choose_model(ModelRequest(model=str(folder)), WorkFolder(tmp_path), slides=1)
