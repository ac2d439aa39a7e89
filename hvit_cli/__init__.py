"""hvit: from a whole-slide image to an ISUP grade and a masked-attention heatmap.

Not a medical device. The library is `hvit_cli.slides`, `tissue`, `models`, `training`,
`heatmaps` and `storage`; `hvit_cli.pipelines` holds one function per command.
"""

__version__ = "0.1.0"
