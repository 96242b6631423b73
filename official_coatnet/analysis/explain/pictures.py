"""The picture of an explanation: maps over the image, a row a block."""

import numpy as np

from official_coatnet.analysis.explain import explanation, maps
from official_coatnet.analysis.runs import drawings

# Inches a panel, and how much of the image shows through a map.
_PANEL = 2.5
_THROUGH = 0.4
_COLOURS = 'inferno'
# Images of fewer pixels are drawn as the pixels that they are.
_SMALL = 96
_NOTE = (
  'Bright: much. Each map is scaled to its own maximum; "x" is how many times '
  'as much as evenly spread attention would be there.'
)


def draw(
  explained: explanation.Explanation, path: str, *, name: str | None = None
):
  """Draws an image with what its class rests on, and what blocks look at.

  Args:
    explained: Of the image.
    path: Picture to write.
    name: Of the image, for the title.

  Returns:
    The figure.

  Raises:
    ImportError: If matplotlib is not installed.
  """
  attention = explained.attention
  columns = max(1 + len(each.heads) for each in attention.values())
  columns, rows = max(columns, 3), 1 + len(attention)
  figure = drawings.new_figure(
    figsize=(_PANEL * columns, (_PANEL + 0.35) * rows + 0.5)
  )
  axes = figure.subplots(rows, columns, squeeze=False)
  for ax in axes.flat:
    ax.axis('off')
  _draw_class(axes[0], explained)
  for row, (block, found) in zip(axes[1:], attention.items()):
    stage, _, number = block.partition('_block')
    title = f'{stage.upper()}, block {number}'
    _draw_attention(row[0], explained, found.mean, f'{title}: mean of heads')
    for ax, (head, values) in zip(row[1:], found.heads.items()):
      _draw_attention(ax, explained, values, f'head {head}')
  best, probability = explained.predictions[0]
  title = f'{best}, {100 * probability:.1f} %'
  if name:
    title = f'{drawings.shorten(name)}: {title}'
  figure.suptitle(title)
  figure.supxlabel(_note(explained), fontsize=8, color='#666666')
  drawings.write_figure(figure, path)
  return figure


def _note(explained: explanation.Explanation) -> str:
  looks = 'Attention is the mean over all positions that look.'
  if explained.query is not None:
    looks = 'Attention is that of the position with the cross.'
  return f'{looks} {_NOTE}'


def _draw_class(row, explained: explanation.Explanation):
  """Draws the image, the map of its class, and the scores."""
  height, width = explained.class_map.shape
  row[0].set_title('the image\nas the network sees it', fontsize=9)
  row[0].imshow(explained.pixels, interpolation=_interpolation(explained))
  best = drawings.shorten(explained.predictions[0][0], length=16)
  # What speaks against the class is not what is asked for.
  values = np.maximum(explained.class_map, 0)
  what = (
    f'what speaks for "{best}"' if values.any() else f'nothing for "{best}"'
  )
  row[1].set_title(
    f'{what}\nGrad-CAM of {explained.stage.upper()}, {height} x {width}',
    fontsize=9,
  )
  _overlay(row[1], explained.pixels, values)
  # As a strip: bars of a whole panel's height would be the first thing seen.
  scores = row[2].inset_axes((0, 0.6, 1, 0.4))
  scores.axis('off')
  drawings.draw_scores(scores, explained.predictions[:3])


def _draw_attention(
  ax, explained: explanation.Explanation, values: np.ndarray, title: str
):
  height, width = values.shape
  most = values.max() * values.size
  ax.set_title(f'{title}\n{height} x {width}, up to {most:.1f}x', fontsize=9)
  _overlay(ax, explained.pixels, values)
  if explained.query is not None:
    across, down = maps.cell(explained.query, (height, width))
    sides = explained.pixels.shape
    ax.plot(
      (across + 0.5) / width * sides[1] - 0.5,
      (down + 0.5) / height * sides[0] - 0.5,
      '+',
      color='#56B4E9',
      markersize=14,
      markeredgewidth=3,
    )


def _overlay(ax, pixels: np.ndarray, values: np.ndarray):
  """Draws a map over an image in grey."""
  height, width = pixels.shape[:2]
  # As bright as the eye finds it (ITU-R BT.601).
  grey = pixels @ np.array([0.299, 0.587, 0.114])
  ax.imshow(grey, cmap='gray', vmin=0, vmax=255)
  ax.imshow(
    values,
    cmap=_COLOURS,
    vmin=0,
    # A map of zeros has no maximum to be scaled to.
    vmax=values.max() or 1,
    alpha=1 - _THROUGH,
    extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    interpolation='bilinear' if max(values.shape) > 4 else 'nearest',
  )


def _interpolation(explained: explanation.Explanation) -> str:
  small = max(explained.pixels.shape) < _SMALL
  return 'nearest' if small else 'antialiased'
