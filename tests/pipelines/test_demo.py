from __future__ import annotations

from pathlib import Path

from PIL import Image

from hvit_cli.pipelines.demo import DemoFile, DemoResult, demo
from hvit_cli.settings import EmbeddingSettings


def test_the_demonstration_writes_what_it_names_and_finds_what_was_drawn(tmp_path: Path) -> None:
    records = list(demo(tmp_path / "demo", seed=None, embedding=EmbeddingSettings(device="cpu")))
    files = [record for record in records if isinstance(record, DemoFile)]
    for file in files:
        assert file.path.stat().st_size > 10_000, file
    pictures = {file.path.name for file in files if file.path.suffix == ".png"}
    assert pictures == {"masked.png", "plain.png", "side-by-side.png"}
    with Image.open(tmp_path / "demo" / "side-by-side.png") as picture:
        assert max(picture.size) >= 1000
    result = records[-1]
    assert isinstance(result, DemoResult)
    assert [verdict.attention for verdict in result.heatmap.verdicts] == ["masked", "plain"]
    assert "not for diagnosis" in result.note
    # The documented slide is one the bundled model was not trained on; it must come close.
    for verdict in result.heatmap.verdicts:
        assert abs(verdict.score - result.true_grade) < 1.5
