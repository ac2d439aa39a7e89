from __future__ import annotations

from dataclasses import replace

from hvit_cli.report.methods import MethodFacts, merged, paragraphs


def test_every_number_of_the_recipe_is_in_the_sentences(method_facts: MethodFacts) -> None:
    text = " ".join(paragraphs(method_facts))
    for said in (
        "0.5 µm per pixel",
        "within 7 %",
        "achieved: 0.486 µm",
        "Pixels were decoded by libjpeg-turbo in simplejpeg 7.7.",
        "near 8.5 µm",
        "median filter of 33 µm",
        "between 0.051 and 0.081",
        "closing of 129 µm",
        "below 0.021 mm²",
        "up to 0.11 mm²",
        "1024 × 1024 px (512 µm)",
        "tissue fraction of 0.13",
        "64 patches of 128 × 128 px",
        "without any tissue",
        "vit_toy (77 features, weights abcdef012345, arithmetic in bfloat16",
        '{"mean": [0.5]}',
        "5 blocks, width 90, 9 heads, 4 registers",
        "3 layers, width 44, 4 heads",
        "the mean of 5 members",
        "one member, trained with masked attention",
        "within 0 to 5",
        "ddof 1",
        "Attention from CLS.",
        "hvit 9.9, PyTorch 8.8",
        "A remark.",
    ):
        assert said in text, said


def test_masks_of_others_are_not_told_as_segmented(method_facts: MethodFacts) -> None:
    text = " ".join(paragraphs(replace(method_facts, tissue_source=("external",))))
    assert "external masks" in text and "segmented" not in text and "Otsu" not in text


def test_other_settings_are_told_otherwise(method_facts: MethodFacts) -> None:
    other = replace(
        method_facts,
        grid="slide",
        background_below=0.05,
        objective="ordinal",
        members={"masked": 1},
        map_caption="",
    )
    text = " ".join(paragraphs(other))
    assert "laid on one grid" in text
    assert "with a tissue fraction of at most 0.05" in text
    assert "expected class" in text
    assert "ddof" not in text


def test_a_cohort_tells_the_range_of_its_slides(method_facts: MethodFacts) -> None:
    several = merged(
        [
            method_facts,
            replace(method_facts, achieved_um=(0.5, 0.5), tissue_source=("geojson",)),
            replace(method_facts, achieved_um=(0.452, 0.452), decoders=("OpenSlide 4.0",)),
        ]
    )
    assert several is not None and several.slides == 3
    text = " ".join(paragraphs(several))
    assert text.startswith("3 slides were read")
    assert "achieved: 0.452 to 0.5 µm" in text
    assert "decoded by libjpeg-turbo in simplejpeg 7.7 and OpenSlide 4.0." in text
    assert "segmented" in text and "GeoJSON" in text
    assert merged([]) is None


def test_masked_tokens_are_said(method_facts: MethodFacts) -> None:
    assert "tokens" not in " ".join(paragraphs(method_facts))
    text = " ".join(paragraphs(replace(method_facts, token_px=16)))
    assert "tokens, squares of 16 × 16 px, were masked in every layer where they hold no" in text
