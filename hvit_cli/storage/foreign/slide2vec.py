"""slide2vec's folders: `tile_embeddings/<slide>.pt` and `tiles/<slide>.coordinates.npz`.

The embeddings are a tensor (N, D) (.pt), or `features` in an .npz. The coordinates file holds
`x`, `y` (N,) level-0 pixels and `tissue_fractions` (N,), row for row. Its neighbour
`<slide>.coordinates.meta.json` says in `tiling` how large a tile is: `tile_size_lv0`,
`requested_tile_size_px`, `requested_spacing_um`, and in `slide` the spacing of level 0.
`tile_embeddings/<slide>.meta.json` names the encoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError
from hvit_cli.storage.foreign.hdf5 import number
from hvit_cli.storage.foreign.patches import (
    ForeignPatches,
    checked_coordinates,
    checked_features,
    checked_fractions,
    file_fingerprint,
    files_by_slide,
    require_plausible,
    require_slides,
)
from hvit_cli.storage.foreign.tensors import read_tensor


def find_slide2vec(source: Path) -> dict[str, Path]:
    """Embedding files by slide id.

    Args:
        source: The output folder, or `tile_embeddings` in it.

    Raises:
        UsageError: There are none.
    """
    inner = source / "tile_embeddings"
    folder = inner if inner.is_dir() else source
    found = {
        **files_by_slide(folder.glob("*.npz"), ".npz"),
        **files_by_slide(folder.glob("*.pt"), ".pt"),
    }
    wanted = "tile_embeddings/<slide>.pt beside tiles/<slide>.coordinates.npz"
    return dict(sorted(require_slides(found, source, wanted).items()))


def read_slide2vec(slide_id: str, path: Path) -> ForeignPatches:
    """Reads one slide.

    Raises:
        StorageError: A file is missing or cannot be read, or the arrays do not match.
    """
    tiles = path.parents[1] / "tiles" / f"{slide_id}.coordinates.npz"
    raw = read_tensor(path) if path.suffix == ".pt" else _arrays(path, ("features",))["features"]
    features = checked_features(raw, path, "features")
    arrays = _arrays(tiles, ("x", "y", "tissue_fractions"))
    if arrays["x"].shape != arrays["y"].shape or arrays["x"].ndim != 1:
        raise StorageError(
            "x and y do not belong together",
            where=tiles,
            found=f"shapes {arrays['x'].shape} and {arrays['y'].shape}",
        )
    xy = np.stack([arrays["x"], arrays["y"]], axis=1)
    about = _meta(tiles.with_name(f"{slide_id}.coordinates.meta.json"))
    tiling, slide = about.get("tiling", {}), about.get("slide", {})
    if tiling.get("overlap", 0):
        raise StorageError(
            "the tiles overlap, and a region is cut into patches without overlap",
            where=f"{tiles}: tiling.overlap",
            found=tiling["overlap"],
            wanted=0,
        )
    side = number(tiling, "tile_size_lv0", tiles)
    patch_px = number(tiling, "requested_tile_size_px", tiles)
    dimensions = slide.get("dimensions") or (0, 0)
    encoder = _meta(path.with_name(f"{slide_id}.meta.json")).get("encoder_name")
    return ForeignPatches(
        slide_id=slide_id,
        features=features,
        xy_level0=checked_coordinates(xy, len(features), tiles, "x, y"),
        tissue_fraction=checked_fractions(
            arrays["tissue_fractions"], (len(features),), tiles, "tissue_fractions"
        ),
        patch_level0=None if side is None else int(side),
        patch_px=None if patch_px is None else int(patch_px),
        spacing_um=number(tiling, "requested_spacing_um", tiles),
        spacing_um_level0=number(slide, "base_spacing_um", tiles),
        size_level0=(int(dimensions[0]), int(dimensions[1])) if all(dimensions) else None,
        encoder=str(encoder) if encoder else None,
        inputs={"features": file_fingerprint(path), "tiles": file_fingerprint(tiles)},
    )


def _arrays(path: Path, wanted: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    try:
        # Opened here: NumPy leaves a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            missing = [name for name in wanted if name not in content]
            if missing:
                raise StorageError(
                    "the file lacks an array",
                    where=path,
                    found=", ".join(content),
                    wanted=", ".join(missing),
                )
            unpacked = sum(content.zip.getinfo(f"{name}.npy").file_size for name in wanted)
            require_plausible(path, unpacked)
            return {name: np.asarray(content[name]) for name in wanted}
    except StorageError:
        raise
    except Exception as error:  # a damaged archive raises whatever its wrong byte leads to
        raise StorageError(
            "this .npz file cannot be read", where=path, found=error or type(error).__name__
        ) from error


def _meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError("this JSON file cannot be read", where=path, found=error) from error
    if not isinstance(content, dict):
        raise StorageError("this JSON file is no object", where=path)
    return content
