"""Drawings of a run: training curves, images with their predictions, classes.

All return the matplotlib figure that they have written. matplotlib is imported
when something is drawn, and not through pyplot, which would look for a screen.
"""

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet import extras, files
from official_coatnet.data import image_files
from official_coatnet.training import model_dir as model_dir_lib

# Two colours that people with any colour vision tell apart (Okabe and Ito).
_COLOURS = {'train': '#0072B2', 'eval': '#D55E00'}
_GREY = '#666666'
_LEGEND = {'train': 'training', 'eval': 'evaluation'}
# Title of a metric's panel, and what its values are multiplied by.
_METRICS = {
  'loss': ('loss (nats)', 1),
  'top1': ('top-1 accuracy (%)', 100),
  'top5': ('top-5 accuracy (%)', 100),
  'precision_at_1': ('precision at 1 (%)', 100),
  'precision_at_5': ('precision at 5 (%)', 100),
  'learning_rate': ('learning rate', 1),
}
_NOTE = (
  'Training: means between two reports, over augmented images and smoothed '
  'labels, as the weights change. Evaluation: images and labels as they are.'
)
# A contact sheet of more images is of no use on a screen.
MAX_IMAGES = 48
_CLASSES_SHOWN = 3
_MAX_COLUMNS = 8
# A matrix of more classes could not be read; of the pairs then so many.
_MATRIX_CLASSES = 30
_PAIRS_SHOWN = 25
# Longest side of a thumbnail, in pixels.
_THUMBNAIL_SIDE = 320


def new_figure(**kwargs):
  """Makes a matplotlib figure, with the arguments of its class.

  Raises:
    ImportError: If matplotlib is not installed; says how to install it.
  """
  figure = extras.load('matplotlib.figure', extra='demo', purpose='Drawing')
  return figure.Figure(layout='constrained', **kwargs)


def check_path(path: str) -> None:
  """Refuses, before there is anything to draw, where no picture can go.

  Raises:
    ValueError: If the ending is of no picture that matplotlib writes.
    OSError: If nothing can be written there.
  """
  ending = _ending(path)
  known = new_figure().canvas.get_supported_filetypes()
  if ending not in known:
    raise ValueError(
      f'The picture {path!r} ends in .{ending}, which is no format to draw in; '
      'take .png, .jpg, .svg or .pdf.'
    )
  if os.path.isdir(path):
    raise OSError(f'The picture {path!r} is a folder; name a file in it.')
  folder = os.path.dirname(path)
  if folder:
    files.make_folder(folder)


def _ending(path: str) -> str:
  return os.path.splitext(path)[1].removeprefix('.').lower() or 'png'


def write_figure(figure, path: str):
  """Writes a figure, in the format of its file's ending."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format=_ending(path), dpi=120)
  files.write_bytes(path, buffer.getvalue())


def training_curves(
  metrics: Sequence[Mapping[str, Any]], path: str, *, title: str | None = None
):
  """Draws how a run went: loss, accuracies and learning rate over time.

  Args:
    metrics: Lines of `model_dir.read_metrics`.
    path: Picture to write, such as run.png (or .pdf, .svg).
    title: Above the picture.

  Returns:
    The figure.

  Raises:
    ValueError: If there is nothing to draw.
    ImportError: If matplotlib is not installed.
  """
  # Evaluations on other data are no part of how the run went.
  metrics = [m for m in metrics if not m.get(model_dir_lib.OTHER_EVALUATION)]
  keys = {key for line in metrics for key in line if line[key] is not None}
  panels = [n for n in _METRICS if {f'train/{n}', f'eval/{n}'} & keys]
  if not panels:
    raise ValueError(
      'There is nothing to draw: `metrics` has no loss and no accuracy. Give '
      'the metrics.jsonl of a run that has finished its first loop.'
    )
  # Who trains for less than an epoch thinks in steps.
  longest = max(line.get('epoch', 0) for line in metrics)
  x_key = 'epoch' if longest >= 1 else 'step'
  rows = math.ceil(len(panels) / 2)
  figure = new_figure(figsize=(10, 3.2 * rows + 0.8))
  axes = figure.subplots(rows, 2, squeeze=False, sharex=True).flatten()
  for ax, name in zip(axes, panels):
    _draw_metric(ax, metrics, name, x_key=x_key)
  for ax in axes[len(panels) :]:
    ax.remove()
  # Under the last panel of each column.
  for ax in axes[: len(panels)][-2:]:
    ax.set_xlabel(x_key)
    ax.tick_params(labelbottom=True)
  if title:
    figure.suptitle(title)
  figure.supxlabel(_NOTE, fontsize=8, color=_GREY)
  write_figure(figure, path)
  return figure


def _draw_metric(
  ax, metrics: Sequence[Mapping[str, Any]], name: str, *, x_key: str
):
  """Draws one metric of training and evaluation into a panel."""
  title, scale = _METRICS[name]
  ax.set_title(title, loc='left', fontsize=10)
  for split, colour in _COLOURS.items():
    # A line may lack a metric, or have null for a value that is not finite.
    # An evaluation of the best checkpoint comes after those of later steps.
    points = sorted(
      (line[x_key], line[f'{split}/{name}'] * scale)
      for line in metrics
      if line.get(f'{split}/{name}') is not None
    )
    if not points:
      continue
    x, y = zip(*points)
    label = _LEGEND[split]
    if split == 'eval':
      best = (min if name == 'loss' else max)(points, key=lambda p: p[1])
      ax.plot(*best, 'o', markersize=10, fillstyle='none', color=colour)
      # In the legend, where it covers no line.
      label = f'{label}, best {best[1]:.4g}'
    # Evaluations are few: each is marked. So is a line of one point, which
    # could not be seen otherwise.
    marker = 'o' if split == 'eval' or len(x) == 1 else None
    ax.plot(x, y, color=colour, marker=marker, markersize=4, label=label)
  if name == 'learning_rate':
    ax.yaxis.set_major_formatter(lambda value, position: f'{value:g}')
  else:
    ax.legend(frameon=False, fontsize=9)
  if name in ('loss', 'learning_rate'):
    ax.set_ylim(bottom=0)
  ax.grid(color='#dddddd', linewidth=0.6)
  ax.spines[['top', 'right']].set_visible(False)


def predictions(
  images: Sequence[np.ndarray | None],
  results: Sequence[Sequence[tuple[str, float]]],
  path: str,
  *,
  names: Sequence[str] | None = None,
  title: str | None = None,
):
  """Draws images, each above its likeliest classes and their scores.

  Args:
    images: uint8 [height, width, 3] each, of any sizes; None leaves a place
      empty. The first `MAX_IMAGES` are drawn.
    results: For each image its classes with scores in [0, 1], best first.
    path: Picture to write.
    names: For each image what to write above it.
    title: Above the picture.

  Returns:
    The figure.

  Raises:
    ValueError: If there is no image, or their number is not that of `results`.
    ImportError: If matplotlib is not installed.
  """
  if not images or len(images) != len(results):
    raise ValueError(
      f'There are {len(images)} `images` and {len(results)} `results`; there '
      'must be as many, and one at least.'
    )
  shown = min(len(images), MAX_IMAGES)
  rows = math.ceil(shown / _MAX_COLUMNS)
  columns = math.ceil(shown / rows)
  figure = new_figure(figsize=(max(1.75 * columns, 4), 2.5 * rows + 0.5))
  # Two axes an image: the image, and its classes below.
  axes = figure.subplots(
    2 * rows, columns, squeeze=False, height_ratios=[2.6, 1] * rows
  )
  for ax in axes.flat:
    ax.axis('off')
  for i in range(shown):
    row, column = divmod(i, columns)
    top, bottom = axes[2 * row, column], axes[2 * row + 1, column]
    if names:
      top.set_title(shorten(names[i]), fontsize=7.5, color=_GREY)
    image = images[i]
    if image is not None:
      # Small images as the pixels that they are.
      small = max(image.shape) < 200
      top.imshow(image, interpolation='nearest' if small else 'antialiased')
    draw_scores(bottom, results[i][:_CLASSES_SHOWN])
  if shown < len(images):
    title = f'{title or ""} (the first {shown} of {len(images)} images)'.strip()
  if title:
    figure.suptitle(title)
  write_figure(figure, path)
  return figure


def classes(
  summary: Mapping[str, Any],
  path: str,
  *,
  cells: Sequence[tuple[int, int, int]] = (),
):
  """Draws what is taken for what, and how accuracy is spread over classes.

  Args:
    summary: Of `per_class.summarize`.
    path: Picture to write.
    cells: Of `per_class.cells`; none where images have several labels.

  Returns:
    The figure.

  Raises:
    ImportError: If matplotlib is not installed.
  """
  names = [row['name'] for row in summary['classes']]
  figure = new_figure(figsize=(13 if cells else 7, 6))
  axes = figure.subplots(1, 2 if cells else 1, squeeze=False)[0]
  if cells and len(names) <= _MATRIX_CLASSES:
    _draw_matrix(axes[0], cells, names)
  elif cells:
    _draw_pairs(axes[0], summary['confused'][:_PAIRS_SHOWN])
  keys = ('accuracy', 'precision', 'recall_at_1', 'precision_at_1')
  ax = axes[-1]
  for key, colour in zip(keys, 2 * list(_COLOURS.values())):
    values = [row.get(key) for row in summary['classes']]
    known = sorted(100 * value for value in values if value is not None)
    if known:
      shares = np.linspace(0, 100, len(known))
      label = f'{key.replace("_", " ")}, mean {np.mean(known):.1f}'
      ax.plot(shares, known, '.-', markersize=3, color=colour, label=label)
  ax.set_xlabel('% of the classes, from the lowest on')
  ax.set_ylabel('%')
  ax.set_ylim(-2, 102)
  if ax.lines:
    ax.legend(frameon=False, fontsize=9)
  ax.grid(color='#dddddd', linewidth=0.6)
  ax.spines[['top', 'right']].set_visible(False)
  figure.suptitle(f'Classes at step {summary["step"]}')
  write_figure(figure, path)
  return figure


def _draw_matrix(ax, cells, names: Sequence[str]):
  """Draws shares of each class's images as grey, and counts over them."""
  counts = np.zeros([len(names)] * 2)
  for label, prediction, count in cells:
    counts[label, prediction] = count
  shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
  ax.imshow(shares, cmap='Greys', vmin=0, vmax=1)
  for label, prediction, count in cells:
    dark = shares[label, prediction] > 0.5
    style = {'ha': 'center', 'va': 'center', 'fontsize': 7}
    colour = 'white' if dark else 'black'
    ax.text(prediction, label, str(count), color=colour, **style)
  labels = [shorten(name, length=16) for name in names]
  ax.set_xticks(range(len(names)), labels, rotation=90, fontsize=7)
  ax.set_yticks(range(len(names)), labels, fontsize=7)
  ax.set_xlabel('taken for')
  ax.set_ylabel('class')


def _draw_pairs(ax, pairs: Sequence[Mapping[str, Any]]):
  """Draws a bar a pair, the most frequent on top."""
  ax.set_title('most confused (images)', loc='left', fontsize=10)
  for place, pair in enumerate(pairs):
    ax.barh(place, pair['count'], color='#9ecae1')
    text = ' for '.join(
      shorten(pair[key]) for key in ('label_name', 'prediction_name')
    )
    ax.text(0, place, f' {text}', va='center', fontsize=7.5)
  ax.set_yticks([])
  ax.invert_yaxis()
  ax.spines[['top', 'right']].set_visible(False)


def thumbnail(
  file: str, options: image_files.Options | None = None
) -> np.ndarray:
  """Reads an image file, small enough for `predictions`.

  Args:
    file: Its path.
    options: How it is read, if not in the usual way.

  Returns:
    uint8 [height, width, 3], of at most 320 pixels a side.

  Raises:
    ValueError: If it does not decode.
  """
  with tf.io.gfile.GFile(file, 'rb') as f:
    image = tf.constant(
      np.asarray(image_files.decode(f.read(), options or image_files.Options()))
    )
  scale = _THUMBNAIL_SIDE / max(image.shape)
  if scale < 1:
    size = [max(1, round(side * scale)) for side in image.shape[:2]]
    image = tf.image.resize(image, size, antialias=True)
    image = tf.saturate_cast(tf.round(image), tf.uint8)
  return image.numpy()


def draw_scores(ax, result: Sequence[tuple[str, float]]):
  """Draws a bar a class, with name and score written over it."""
  ax.set_xlim(0, 1)
  ax.set_ylim(_CLASSES_SHOWN - 0.5, -0.5)  # The best on top.
  for place, (name, score) in enumerate(result):
    colour = '#9ecae1' if place == 0 else '#dddddd'
    ax.barh(place, 1, height=0.8, color='#f5f5f5')
    ax.barh(place, score, height=0.8, color=colour)
    text = {'va': 'center_baseline', 'fontsize': 7.5}
    ax.text(0.03, place, shorten(name, length=16), **text)
    ax.text(0.97, place, f'{100 * score:.1f} %', ha='right', **text)


def shorten(text: str, *, length: int = 30) -> str:
  """Cuts out the middle of a long text: file names differ at their ends."""
  if len(text) <= length:
    return text
  head = (length - 1) // 2
  return f'{text[:head]}…{text[len(text) - (length - 1 - head) :]}'
