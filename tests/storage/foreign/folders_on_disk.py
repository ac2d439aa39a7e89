"""Feature folders as TRIDENT, CLAM, slide2vec and the original write them, and their readers.

Written from what those programs store and look for, not from hvit. Each patch's features name
its place: the first two numbers are its column and row on the lattice over 64, so that a test can
tell whether a row still belongs to its coordinates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import torch

WIDTH = 8


def cells(columns: int, rows: int, share: float, seed: int) -> np.ndarray:
    """(N, 2) columns and rows of the patches that are there, the first cell among them."""
    there = np.random.default_rng(seed).random((rows, columns)) < share
    there[0, 0] = True
    row, column = np.nonzero(there)
    return np.stack([column, row], axis=1)


def features_at(cell: np.ndarray, grade: float = 0, seed: int = 0) -> np.ndarray:
    """(N, WIDTH) float32: column and row over 64, the grade in [2], noise."""
    noise = np.random.default_rng(seed).standard_normal((len(cell), WIDTH)) * 0.1
    noise[:, 0], noise[:, 1] = cell[:, 0] / 64, cell[:, 1] / 64
    noise[:, 2] += grade - 2.5
    return noise.astype(np.float32)


def write_trident(
    job: Path,
    slide_id: str,
    cell: np.ndarray,
    *,
    step: int = 512,
    magnifications: tuple[int, int] = (40, 20),
    grade: float = 0,
    encoder: str = "uni_v1",
    **changed: object,
) -> Path:
    """One slide in a job's folder; `changed` replaces attributes of `coords`."""
    level0, target = magnifications
    attributes = {
        "patch_size": 256,
        "patch_size_level0": 256 * level0 // target,
        "level0_magnification": level0,
        "target_magnification": target,
        "overlap": 0,
        "name": slide_id,
        "savetodir": "somewhere",
        "level0_width": 60000,
        "level0_height": 40000,
        **changed,
    }
    folder = job / f"{target}x_256px_0px_overlap" / f"features_{encoder}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slide_id}.h5"
    with h5py.File(path, "w") as file:
        features = features_at(cell, grade)
        file.create_dataset("features", data=features, chunks=(1, WIDTH), maxshape=(None, WIDTH))
        coords = file.create_dataset("coords", data=cell * step, chunks=(1, 2), maxshape=(None, 2))
        file["features"].attrs.update({"name": slide_id, "savetodir": "", "encoder": encoder})
        for key, value in attributes.items():
            if value is not None:
                coords.attrs[key] = value
    return path


def write_clam(
    folder: Path, slide_id: str, xy: np.ndarray, features: np.ndarray, *, patches: bool = True
) -> None:
    """One slide: features in h5_files and pt_files, patch size in patches."""
    for name in ("h5_files", "pt_files", "patches"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "h5_files" / f"{slide_id}.h5", "w") as file:
        file["features"], file["coords"] = features, xy.astype(np.int32)
    torch.save(torch.from_numpy(features), folder / "pt_files" / f"{slide_id}.pt")
    if patches:
        with h5py.File(folder / "patches" / f"{slide_id}.h5", "w") as file:
            file["coords"] = xy
            file["coords"].attrs.update(
                {
                    "patch_size": 256,
                    "patch_level": 1,
                    "downsample": (2.0001, 2.0002),
                    "level_dim": (30000, 20000),
                    "name": slide_id,
                }
            )


def write_slide2vec(
    folder: Path, slide_id: str, cell: np.ndarray, *, origin: tuple[int, int] = (64, 0)
) -> np.ndarray:
    """One slide with tiles from an origin in steps of 508; returns the tissue fractions."""
    for name in ("tile_embeddings", "tiles"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    fractions = np.linspace(0.1, 1, len(cell)).astype(np.float32)
    torch.save(
        torch.from_numpy(features_at(cell)).half(), folder / "tile_embeddings" / f"{slide_id}.pt"
    )
    (folder / "tile_embeddings" / f"{slide_id}.meta.json").write_text(
        json.dumps({"encoder_name": "prost40m", "feature_dim": WIDTH})
    )
    x, y = (cell * 508 + np.asarray(origin)).T
    np.savez_compressed(
        folder / "tiles" / f"{slide_id}.coordinates.npz",
        x=x,
        y=y,
        tissue_fractions=fractions,
        tile_index=np.arange(len(cell), dtype=np.int32),
    )
    (folder / "tiles" / f"{slide_id}.coordinates.meta.json").write_text(
        json.dumps(
            {
                "slide": {"base_spacing_um": 0.252, "dimensions": [50000, 40000]},
                "tiling": {
                    "requested_tile_size_px": 256,
                    "requested_spacing_um": 0.5,
                    "tile_size_lv0": 508,
                    "overlap": 0.0,
                },
            }
        )
    )
    return fractions


def write_original(
    folder: Path, slide_id: str, corners: Sequence[tuple[int, int]], *, patches: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """One slide: features, tissue fractions per token, and empty pictures of its regions.

    Features [m, k, :2] are the corner of the region in thousands, [m, k, 2] is k.

    Returns:
        Features (M, K, WIDTH) and fractions (M, K, 256), in the order of the file.
    """
    pictures = folder / "regions" / slide_id / "imgs"
    pictures.mkdir(parents=True)
    for x, y in corners:
        (pictures / f"{x}_{y}.jpg").write_bytes(b"")
    # What the original does: sort the paths, then split the stem.
    order = [tuple(map(int, p.stem.split("_"))) for p in sorted(pictures.glob("*.jpg"))]
    rng = np.random.default_rng(7)
    features = rng.standard_normal((len(order), patches, WIDTH)).astype(np.float32)
    features[:, :, :2] = np.asarray(order)[:, None] / 1000
    features[:, :, 2] = np.arange(patches)
    fractions = rng.integers(0, 65, (len(order), patches, 256)) / 64
    fractions[rng.random((len(order), patches)) < 0.4] = 0
    for name in ("slide_features", "tissue"):
        (folder / name).mkdir(exist_ok=True)
    torch.save(torch.from_numpy(features), folder / "slide_features" / f"{slide_id}.pt")
    np.save(folder / "tissue" / f"{slide_id}.npy", fractions)
    return features, fractions


def read_as_trident(path: Path) -> SimpleNamespace:
    """What TRIDENT's slide encoders and patcher take from a feature file."""
    with h5py.File(path, "r") as file:
        coords, features = file["coords"][:], file["features"][:]
        about = dict(file["coords"].attrs)
    patch_size, level0, target = (
        about.get(name) for name in ("patch_size", "level0_magnification", "target_magnification")
    )
    assert None not in (patch_size, level0, target)
    assert round(coords[0][0]) == coords[0][0]
    downsample = (10 / target) / (10 / level0)
    return SimpleNamespace(
        features=torch.from_numpy(features).float(),
        coords=torch.from_numpy(coords),
        patch_size_level0=int(about["patch_size_level0"]),
        patch_size_source=round(patch_size * downsample),
        about=about,
    )


def read_as_clam(folder: Path, slide_id: str) -> SimpleNamespace:
    """What CLAM's data set takes from its two folders."""
    with h5py.File(folder / "h5_files" / f"{slide_id}.h5", "r") as file:
        features, coords = file["features"][:], file["coords"][:]
        legacy = dict(file["coords"].attrs)
    return SimpleNamespace(
        from_h5=torch.from_numpy(features),
        coords=coords,
        from_pt=torch.load(folder / "pt_files" / f"{slide_id}.pt"),
        patch_size=legacy["patch_size"],
        patch_level=legacy["patch_level"],
    )


def read_as_stamp(folder: Path, slide_id: str) -> SimpleNamespace:
    """What STAMP's bags take from a file, and the kind it takes the folder for."""
    kinds = set()
    for path in folder.glob("*.h5"):
        with h5py.File(path, "r") as file:
            kind, encoder = file.attrs.get("feat_type"), file.attrs.get("encoder")
            kinds.add("tile" if kind is None and encoder is None else str(kind))
    assert len(kinds) == 1
    with h5py.File(folder / f"{slide_id}.h5", "r") as file:
        feats = torch.from_numpy(file["feats"][:]).float()
        assert not (file.attrs.get("tile_size") and file.attrs.get("unit") == "um")
        size_um = float(file.attrs["tile_size_um"])
        assert not file.attrs.get("stamp_version")
        return SimpleNamespace(
            kind=kinds.pop(),
            feats=feats,
            coords_um=torch.from_numpy(file["coords"][:]).float(),
            tile_size_um=size_um,
            mpp=size_um / int(file.attrs["tile_size_px"]),
            extractor=file.attrs.get("extractor", "no extractor name"),
        )
