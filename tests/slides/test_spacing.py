from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.errors import SpacingError
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.spacing import SpacingReport, find_spacing

APERIO = {
    "openslide.mpp-x": "0.25",
    "openslide.mpp-y": "0.25",
    "aperio.MPP": "0.25",
    "openslide.objective-power": "20",
    "tiff.ResolutionUnit": "centimeter",
    "tiff.XResolution": "20000",
    "tiff.YResolution": "20000",
}


def ask(
    properties: dict[str, str],
    vendor: str = "aperio",
    manifest_spacing_um: float | None = None,
    **reading: object,
) -> SpacingReport:
    return find_spacing(
        properties,
        ReadingSettings(**reading),  # type: ignore[arg-type]  # keywords of one test
        vendor=vendor,
        manifest_spacing_um=manifest_spacing_um,
        where=Path("a.svs"),
    )


def without(properties: dict[str, str], prefix: str) -> dict[str, str]:
    return {k: v for k, v in properties.items() if not k.startswith(prefix)}


def test_the_ladder_from_its_top_to_its_bottom() -> None:
    everything = ask(
        APERIO, manifest_spacing_um=0.3, spacing_override=0.4, spacing_from_objective=True
    )
    assert [s.kind for s in everything.sources] == [
        "manifest",
        "override",
        "vendor",
        "tiff",
        "objective",
    ]
    assert (everything.kind, everything.spacing_um) == ("manifest", 0.3)
    assert ask(APERIO, spacing_override=0.4).spacing_um == 0.4
    assert (ask(APERIO).kind, ask(APERIO).spacing_um) == ("vendor", 0.25)
    tags = without(without(APERIO, "openslide.mpp"), "aperio")
    assert (ask(tags).kind, ask(tags).spacing_um) == ("tiff", 0.5)
    power = without(tags, "tiff")
    assert ask(power).spacing_um is None
    guessed = ask(power, spacing_from_objective=True)
    assert (guessed.kind, guessed.spacing_um) == ("objective", 0.5)


def test_a_refused_source_leaves_the_next_one_its_turn_and_is_recorded() -> None:
    report = ask(APERIO | {"openslide.mpp-x": "0", "openslide.mpp-y": "0"})
    assert (report.kind, report.spacing_um) == ("tiff", 0.5)
    vendor = report.sources[0]
    assert (vendor.kind, vendor.accepted, vendor.reason) == ("vendor", False, "not above 0")
    assert "0 µm/px" in vendor.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0", "not above 0"),
        ("-0.499", "not above 0"),
        ("499", "coarser than 10"),
        ("10.01", "coarser than 10"),
        ("0.049", "finer than 0.05"),
        ("abcdef", "not a number"),
        ("nan", "not a number"),
        ("inf", "not a number"),
        ("", "not a number"),
    ],
)
def test_implausible_values_are_refused_by_name(text: str, reason: str) -> None:
    report = ask({"openslide.mpp-x": text, "openslide.mpp-y": text})
    with pytest.raises(SpacingError) as caught:
        report.required_um(Path("dir/a.svs"))
    line = str(caught.value)
    assert line.startswith("dir/a.svs: ")
    assert reason in line
    assert text in line
    assert "--spacing-override" in line


@pytest.mark.parametrize("spacing_um", [0.05, 0.1, 0.5, 9.99, 10.0])
def test_plausible_values_are_taken(spacing_um: float) -> None:
    text = repr(spacing_um)
    assert ask({"openslide.mpp-x": text, "openslide.mpp-y": text}).spacing_um == spacing_um


def test_x_and_y_may_differ_by_one_percent_and_no_more() -> None:
    near = ask({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.504"})
    assert near.spacing_um == pytest.approx(0.502)
    far = ask({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.506"})
    assert far.spacing_um is None
    assert "differ by more than 1%" in far.sources[0].reason


@pytest.mark.parametrize(
    ("unit", "resolution"), [("inch", "72"), ("centimeter", "28.340000157438311"), ("inch", "72.3")]
)
def test_72_dpi_is_missing_and_not_a_spacing(unit: str, resolution: str) -> None:
    report = ask(
        {
            "tiff.ResolutionUnit": unit,
            "tiff.XResolution": resolution,
            "tiff.YResolution": resolution,
            # OpenSlide derives these from the same tags.
            "openslide.mpp-x": "352.8",
            "openslide.mpp-y": "352.8",
        },
        vendor="generic-tiff",
    )
    assert report.spacing_um is None
    assert [s.kind for s in report.sources] == ["tiff"]
    assert "72 dpi is a default" in report.sources[0].reason


@pytest.mark.parametrize(
    ("unit", "per_unit", "spacing_um"),
    [("centimeter", 20_000, 0.5), ("inch", 50_800, 0.5), ("centimeter", 20_576.1317, 0.486)],
)
def test_resolution_tags_in_either_unit(unit: str, per_unit: float, spacing_um: float) -> None:
    tags = {
        "tiff.ResolutionUnit": unit,
        "tiff.XResolution": str(per_unit),
        "tiff.YResolution": str(per_unit),
    }
    assert ask(tags, vendor="generic-tiff").spacing_um == pytest.approx(spacing_um, rel=1e-6)


@pytest.mark.parametrize("resolution", ["0", "-1", "nan", "x"])
def test_senseless_resolution_tags_are_no_spacing(resolution: str) -> None:
    tags = {
        "tiff.ResolutionUnit": "inch",
        "tiff.XResolution": resolution,
        "tiff.YResolution": resolution,
    }
    assert ask(tags, vendor="generic-tiff").spacing_um is None


def test_resolution_tags_without_a_unit_are_no_spacing() -> None:
    tags = {"tiff.XResolution": "20000", "tiff.YResolution": "20000", "tiff.ResolutionUnit": "none"}
    report = ask(tags, vendor="generic-tiff")
    assert report.spacing_um is None
    assert report.sources[0].reason == "no unit of length"


@pytest.mark.parametrize(
    ("attributes", "spacing_um"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.25"', 0.25),
        (
            'PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="250" PhysicalSizeYUnit="nm"',
            0.25,
        ),
        (
            'PhysicalSizeX="0.5" PhysicalSizeXUnit="µm" PhysicalSizeY="0.5" PhysicalSizeYUnit="µm"',
            0.5,
        ),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"', None),
        ('PhysicalSizeX="0.25"', None),
    ],
)
def test_ome_xml_states_the_spacing(attributes: str, spacing_um: float | None) -> None:
    described = {"tiff.ImageDescription": f"<OME><Image><Pixels {attributes}/></Image></OME>"}
    assert ask(described, vendor="generic-tiff").spacing_um == spacing_um


@pytest.mark.parametrize("value", [-1.0, 0.0, 11.0, float("nan")])
def test_a_spacing_that_the_user_gave_is_never_passed_over(value: float) -> None:
    with pytest.raises(SpacingError, match=r"a\.svs: .*--spacing-override"):
        ask(APERIO, spacing_override=value)
    with pytest.raises(SpacingError, match=r"a\.svs: .*manifest"):
        ask(APERIO, manifest_spacing_um=value)


def test_the_line_for_a_slide_that_states_nothing_offers_the_objective() -> None:
    with pytest.raises(
        SpacingError, match=r"states no spacing; try --spacing-override.*0\.5 µm/px"
    ):
        ask({"openslide.objective-power": "20"}).required_um(Path("a.svs"))


@given(st.dictionaries(st.sampled_from(sorted(APERIO)), st.text(max_size=8)))
def test_whatever_the_file_says_a_report_or_one_line_comes_of_it(
    properties: dict[str, str],
) -> None:
    report = ask(properties, spacing_from_objective=True)
    assert report.spacing_um is None or 0.05 <= report.spacing_um <= 10
