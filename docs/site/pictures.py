"""The pictures of the site.

    .venv/bin/python -m docs.site.pictures [runs/demo] [report.html]

draws docs/pictures/network.png from the table of sizes. Where it is told of a
finished `make demo`, it brings the pictures of that here, and of a page of
tools/report.py it takes one, in Chromium.
"""

import io
import os
import sys
from typing import IO

import matplotlib
from PIL import Image

from official_coatnet.modeling import sizes
from tests.fixtures import browser

matplotlib.use('Agg')

from matplotlib import patches, pyplot  # noqa: E402

FOLDER = os.path.join(
  os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'pictures'
)
_NETWORKS = tuple(f'coatnet_{number}' for number in range(6))
_IMAGE_SIZE = 224
_KINDS = {
  'conv_stem': ('#9aa5b1', 'Stem: convolutions'),
  'C': ('#f2b35e', 'MBConv'),
  'T': ('#6ea8d9', 'Transformer, relative attention'),
}
# Pictures that `make demo` makes, and the widest that they are shown.
_OF_DEMO = {'model/training.png': 760, 'predictions.png': 760}
# How much of a report is seen: its head and the first curves.
_REPORT = (1280, 1110)


def draw_networks(path: str) -> None:
  """Draws the networks of the paper, a row each, stages from left to right.

  Args:
    path: Of the picture.
  """
  figure, axes = pyplot.subplots(figsize=(10, 5.2), dpi=110)
  left, step = 1.7, 2.0
  stages = sizes.LAYOUTS[sizes.SIZES[_NETWORKS[0]].layout]
  for column, stage in enumerate(stages):
    side = _IMAGE_SIZE // 2**stage.level
    axes.text(
      left + step * (column + 0.46),
      0.62,
      f'S{column}   {side} x {side}',
      ha='center',
      fontsize=11,
    )
  for row, name in enumerate(_NETWORKS):
    size = sizes.SIZES[name]
    axes.text(0, -row, name, va='center', fontsize=11, family='monospace')
    for column, stage in enumerate(sizes.LAYOUTS[size.layout]):
      blocks, width = size.blocks[column], size.widths[column]
      x = left + step * column
      # As high as the stage has blocks, so that the deep ones are seen.
      height = 0.3 + 0.5 * min(1.0, blocks / 28)
      axes.add_patch(
        patches.FancyBboxPatch(
          (x, -row - height / 2),
          0.92 * step,
          height,
          boxstyle='round,pad=0,rounding_size=0.08',
          facecolor=_KINDS[stage.kind][0],
          edgecolor='none',
        )
      )
      text = f'{blocks} x {width}'
      axes.text(
        x + 0.46 * step, -row, text, ha='center', va='center', fontsize=11
      )
  handles = [
    patches.Patch(color=c, label=label) for c, label in _KINDS.values()
  ]
  axes.legend(
    handles=handles,
    loc='lower center',
    bbox_to_anchor=(0.5, -0.02),
    ncol=3,
    frameon=False,
    fontsize=11,
  )
  axes.set_title(
    'Blocks x channels of each stage; height and width are for images of '
    f'{_IMAGE_SIZE} x {_IMAGE_SIZE}',
    fontsize=11,
    pad=14,
  )
  axes.set_xlim(-0.1, left + step * len(stages))
  axes.set_ylim(-len(_NETWORKS) - 0.35, 0.85)
  axes.axis('off')
  figure.tight_layout()
  _save(figure, path)
  pyplot.close(figure)


def photograph(page: str, path: str) -> None:
  """Takes a picture of the head of a report.

  Args:
    page: A page of tools/report.py.
    path: Of the picture.

  Raises:
    RuntimeError: If there is no Chromium.
  """
  width, height = _REPORT
  seen = io.BytesIO()
  view = browser.look(page, width=width, height=height)
  Image.fromarray(view.pixels).save(seen, 'png')
  # With fewer thin lines would lose theirs.
  shrink(seen, path, width=1000, colours=256)


def _save(figure: pyplot.Figure, path: str) -> None:
  figure.savefig(path)
  shrink(path, path, width=figure.canvas.get_width_height()[0])


def shrink(
  source: str | IO[bytes],
  path: str | os.PathLike[str],
  *,
  width: int,
  colours: int = 64,
) -> None:
  """Writes a picture of few colours, at most so many pixels wide."""
  with Image.open(source) as image:
    picture = image.convert('RGB')
  if picture.width > width:
    height = round(picture.height * width / picture.width)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
  picture.quantize(colours, method=Image.Quantize.MEDIANCUT).save(
    path, optimize=True
  )


def main(argv: list[str]) -> None:
  """Draws all that can be drawn."""
  os.makedirs(FOLDER, exist_ok=True)
  draw_networks(os.path.join(FOLDER, 'network.png'))
  for made in argv[1:]:
    if made.endswith('.html'):
      photograph(made, os.path.join(FOLDER, 'report.png'))
      continue
    for name, width in _OF_DEMO.items():
      path = os.path.join(FOLDER, os.path.basename(name))
      shrink(os.path.join(made, name), path, width=width)


if __name__ == '__main__':
  main(sys.argv)
