from __future__ import annotations

from pathlib import Path

import pytest

from hvit_cli.errors import ManifestError
from hvit_cli.slides.manifest import SlideEntry, find_slides


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of empty files with the names of slides; nothing here opens one."""
    for name in (
        "b.svs",
        "a.tiff",
        "deep/er/c.ndpi",
        "007.ome.tif",
        "a_mask.tiff",
        "c-mask.TIF",
        "thumb.png",
        "notes.txt",
        ".hidden.svs",
        ".cache/d.svs",
        "dicom1/1.dcm",
        "dicom1/2.dcm",
        "e.mrxs",
        "e/Data0000.tif",
    ):
        path = tmp_path / "slides" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "slides"


def ids(entries: list[SlideEntry]) -> list[str]:
    return [entry.slide_id for entry in entries]


def table(folder: Path, text: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def test_a_folder_is_searched_with_everything_below(folder: Path) -> None:
    assert ids(find_slides([folder])) == ["007", "a", "b", "c", "dicom1", "e"]


def test_slides_come_in_the_order_of_their_sources(folder: Path) -> None:
    assert ids(find_slides([folder / "b.svs", folder / "a.tiff"])) == ["b", "a"]


def test_the_same_file_named_twice_is_one_slide(folder: Path) -> None:
    found = find_slides([folder / "b.svs", folder, folder / "deep" / ".." / "b.svs"])
    assert sorted(ids(found)) == ["007", "a", "b", "c", "dicom1", "e"]


def test_a_dicom_folder_is_one_slide(folder: Path) -> None:
    (entry,) = find_slides([folder / "dicom1"])
    assert entry == SlideEntry(slide_id="dicom1", path=folder / "dicom1")


def test_pictures_count_when_they_are_named(folder: Path) -> None:
    assert ids(find_slides([folder / "thumb.png"])) == ["thumb"]


def test_a_folder_of_pictures_says_how_to_take_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(ManifestError, match=r"only pictures.*1 PNG or JPEG.*one by one"):
        find_slides([tmp_path])


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no slides found"):
        find_slides([tmp_path])


def test_all_missing_sources_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"x\.svs, .*y\.svs"):
        find_slides([tmp_path / "x.svs", tmp_path / "y.svs"])


def test_two_slides_of_one_name_are_an_error_that_names_both(folder: Path) -> None:
    (folder / "deep" / "b.tiff").touch()
    with pytest.raises(ManifestError) as caught:
        find_slides([folder])
    assert str(folder / "b.svs") in str(caught.value)
    assert str(folder / "deep" / "b.tiff") in str(caught.value)


def test_names_that_differ_in_case_alone_would_share_files(folder: Path) -> None:
    (folder / "deep" / "B.svs").touch()
    with pytest.raises(ManifestError, match="two slides are called"):
        find_slides([folder])


def test_masks_are_never_slides(folder: Path) -> None:
    assert ids(find_slides([folder / "a.tiff", folder / "a_mask.tiff"])) == ["a"]
    with pytest.raises(ManifestError, match="masks by their names"):
        find_slides([folder / "a_mask.tiff", folder / "c-mask.TIF"])


def test_masks_of_another_pattern_are_known_by_it(folder: Path) -> None:
    (folder / "a_gleason.tif").touch()
    (folder / "x_gleason.tif").touch()
    found = ids(find_slides([folder], mask_pattern="{slide_id}_gleason.tif"))
    assert "a_gleason" not in found  # the mask of a
    assert "x_gleason" in found  # of no slide here: not known to be a mask


def test_a_mask_of_the_slides_own_name_in_another_folder(folder: Path) -> None:
    (folder / "masks").mkdir()
    (folder / "masks" / "b.tiff").touch()
    found = find_slides([folder], mask_pattern="{slide_id}.tiff")
    assert {e.path for e in found if e.slide_id == "b"} == {folder / "b.svs"}
    assert "a" in ids(found)  # matches the pattern of its own name, and stays


def test_products_of_hvit_are_never_slides(folder: Path) -> None:
    work = folder / "hvit-out"
    for name in ("masks/a.tiff", "heatmaps/a.tiff", "status.csv"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()
    assert ids(find_slides([folder])) == ["007", "a", "b", "c", "dicom1", "e"]


def test_a_circle_of_links_ends(folder: Path) -> None:
    (folder / "deep" / "back").symlink_to(folder)
    assert ids(find_slides([folder])) == ["007", "a", "b", "c", "dicom1", "e"]


def test_excluded_slides_are_left_out(folder: Path) -> None:
    exclude = table(folder.parent, "slide_id,reason\nb,pen\n007,fold\n")
    assert ids(find_slides([folder], exclude=exclude)) == ["a", "c", "dicom1", "e"]
    everything = table(folder.parent, "slide_id\na\n")
    with pytest.raises(ManifestError, match="every slide is excluded"):
        find_slides([folder / "a.tiff"], exclude=everything)
    with pytest.raises(ManifestError, match="no column slide_id"):
        find_slides([folder], exclude=table(folder.parent, "slides\nb\n"))


def test_a_manifest_with_every_column(folder: Path) -> None:
    manifest = table(
        folder,
        "slide_id,path,case_id,spacing_um,mask_path,label,group\n"
        "007,b.svs,P-1,0.25,a_mask.tiff,3,Radboud\n"
        "008,deep/er/c.ndpi,,,,,\n",
    )
    assert find_slides([manifest]) == [
        SlideEntry(
            slide_id="007",
            path=folder / "b.svs",
            case_id="P-1",
            spacing_um=0.25,
            mask_path=folder / "a_mask.tiff",
            label="3",
            group="Radboud",
            is_bare=False,
        ),
        SlideEntry(slide_id="008", path=folder / "deep/er/c.ndpi", is_bare=False),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wsi,mpp\nb.svs,0.25\n", ("b", 0.25)),  # TRIDENT
        (
            "sample_id,image_path,mask_path,spacing_at_level_0\nx,b.svs,a_mask.tiff,0.25\n",
            ("x", 0.25),
        ),  # hs2p
        ("slide_id\nb\n", ("b", None)),  # CLAM
        ("case_id,slide_id,label\np,b.svs,tumor\n", ("b", None)),  # CLAM, with the suffix
        ("Slide_ID , PATH\n b , b.svs \n", ("b", None)),
        ("slide_id\tpath\nb\tb.svs\n", ("b", None)),
    ],
)
def test_headings_of_other_programs(
    folder: Path, text: str, expected: tuple[str, float | None]
) -> None:
    (entry,) = find_slides([table(folder, text)])
    assert (entry.slide_id, entry.spacing_um) == expected
    assert entry.path.resolve() == folder / "b.svs"


def test_a_spreadsheets_mark_semicolons_and_decimal_commas(folder: Path) -> None:
    text = "slide_id;path;spacing_um\n007;b.svs;0,25\n"
    (entry,) = find_slides([table(folder, text, encoding="utf-8-sig")])
    assert (entry.slide_id, entry.spacing_um) == ("007", 0.25)
    (entry,) = find_slides([table(folder, text, encoding="utf-16")])
    assert (entry.slide_id, entry.spacing_um) == ("007", 0.25)


def test_a_manifest_may_call_a_mask_or_a_picture_a_slide(folder: Path) -> None:
    manifest = table(folder, "slide_id,path\nm,a_mask.tiff\np,thumb.png\n")
    assert ids(find_slides([manifest])) == ["m", "p"]


def test_what_a_manifest_says_wins_over_the_bare_file(folder: Path) -> None:
    manifest = table(folder, "slide_id,path,spacing_um\nbee,b.svs,0.3\n")
    found = find_slides([folder / "b.svs", manifest, folder])
    assert {(e.slide_id, e.spacing_um) for e in found if e.path.name == "b.svs"} == {("bee", 0.3)}


def test_mask_files_of_a_manifest_are_no_slides_of_a_folder(folder: Path) -> None:
    (folder / "outline.tif").touch()
    manifest = table(folder, "slide_id,path,mask_path\nb,b.svs,outline.tif\n")
    assert "outline" not in ids(find_slides([manifest, folder]))


def test_all_missing_files_of_a_manifest_are_named_with_their_rows(folder: Path) -> None:
    manifest = table(folder, "slide_id,path\nx,x.svs\na,a.tiff\n\ny,y.svs\n")
    with pytest.raises(ManifestError) as caught:
        find_slides([manifest])
    line = str(caught.value)
    assert line.startswith(f"{manifest}: 2 of the files")
    assert "x.svs (row 2)" in line
    assert "y.svs (row 5)" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the table is empty"),
        ("slide_id,path\n", "headings and no rows"),
        ("name,file\nb,b.svs\n", "columns name, file; wanted slide_id or path"),
        ("slide_id,path\nb,b.svs,what\n", "row 2: a row has more cells"),
        ("slide_id,path,mpp\nb,b.svs,fine\n", "row 2: the spacing is not a number; found 'fine'"),
        ("slide_id,path,case_id\n,,P\n", "row 2: a row names no slide"),
        ("slide_id,path,image_path\nb,b.svs,b.svs\n", "several columns hold the path"),
        ("slide_id,path\nb,b.svs\nb,a.tiff\n", "two slides are called b"),
        ("slide_id,path\n../b,b.svs\n", "'../b'"),
        ("slide_id,path\nx/b,b.svs\n", "'x/b'"),
        ("slide_id,path\nx\\b,b.svs\n", "cannot be this"),
        ("slide_id,path\n..,b.svs\n", "'..'"),
        ("slide_id,path\n.,b.svs\n", "'.'"),
        ('slide_id,path\n"a\x07b",b.svs\n', "cannot be this"),
    ],
)
def test_manifests_that_cannot_be_understood(folder: Path, text: str, expected: str) -> None:
    with pytest.raises(ManifestError) as caught:
        find_slides([table(folder, text)])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_no_text(folder: Path) -> None:
    path = folder / "bytes.csv"
    path.write_bytes(b"slide_id,path\n\xff\xfe\xfa,b.svs\n")
    with pytest.raises(ManifestError, match="not text"):
        find_slides([path])


def test_a_name_that_several_files_share_needs_a_path(folder: Path) -> None:
    (folder / "deep" / "b.tiff").touch()
    with pytest.raises(ManifestError, match="several slides are called b"):
        find_slides([table(folder, "slide_id\nb\n")])


def test_real_folders(data: Path) -> None:
    assert ids(find_slides([data / "slides"])) == [
        "CMU-1-Small-Region",
        "TCGA-CR-7395-01A-01-TS1",
        "biopsy_a",
        "biopsy_b",
        "biopsy_c",
        "dicom_cmu1small",
        "panda_ink_1.944um",
        "panda_ink_upsampled_0.486um",
        "prostate_benign_0.5um",
        "prostate_gleason_0.5um",
        "prostate_tcga_0.25um",
        "test3-TRITC_2__560_",
    ]
    with_masks = ids(find_slides([data / "slides", data / "masks"]))
    assert not [slide_id for slide_id in with_masks if slide_id.endswith("mask")]
