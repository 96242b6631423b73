"""Figures of a report that are no curves: classes, and relative biases."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from official_coatnet.analysis.runs import style

# Bars that can be told apart, and longest name beside one.
_MAX_CLASSES = 40
_LONGEST_NAME = 24
# From below zero to above, with a middle that is neither page's colour.
_TINTS = ('#2166ac', '#92c5de', '#f7f7f7', '#f4a582', '#b2182b')


def classes(summaries: Mapping[str, Mapping[str, Any]]) -> tuple[Any, str]:
  """Draws the accuracy of classes, those with the lowest first.

  Args:
    summaries: Name of a run to what `per_class` has written of it.

  Returns:
    The figure, and what it shows.
  """
  first = next(iter(summaries.values()))
  key = 'recall_at_1' if first['several_labels'] else 'accuracy'
  values: dict[str, dict[str, float]] = {}
  for run, summary in summaries.items():
    for row in summary['classes']:
      if row.get(key) is not None:
        values.setdefault(row['name'], {})[run] = 100 * row[key]
  order = sorted(values, key=lambda name: min(values[name].values()))
  shown = order[:_MAX_CLASSES]
  labels = _distinct([_shorten(name) for name in shown])
  figure = style.figure(
    x_label=f'{key.replace("_", " ")} (%)',
    tools='',
    y_range=style.bokeh('models').FactorRange(*reversed(labels)),
    x_range=(_floor(values), 102),
  )
  figure.height = 90 + 18 * len(shown)
  colours = style.colours(len(summaries))
  for place, (run, colour) in enumerate(zip(summaries, colours)):
    rows = [
      (label, name, values[name][run])
      for label, name in zip(labels, shown)
      if run in values[name]
    ]
    if not rows:
      continue
    places, names, numbers = zip(*rows)
    source = style.bokeh('models').ColumnDataSource(
      {'label': places, 'name': names, 'value': numbers}
    )
    look: dict[str, Any] = {'color': colour, 'source': source}
    if len(summaries) > 1:
      look['legend_label'] = run
    # Where they are equal, rings around rings.
    size = 8 + 4 * (len(summaries) - 1 - place)
    dots = figure.scatter('value', 'label', size=min(size, 20), **look)
    tooltips = [('class', '@name'), (run, '@value{0.0} %')]
    style.add_hover(figure, dots, tooltips)
  style.place_legend(figure)
  what = f'{len(shown)} of {len(order)} classes, the lowest first'
  return figure, what if len(shown) < len(order) else 'The lowest first'


def _floor(values: Mapping[str, Mapping[str, float]]) -> float:
  """Returns where the axis begins: some way below the lowest."""
  lowest = min((min(each.values()) for each in values.values()), default=0.0)
  return max(-2.0, 10 * (lowest // 10 - 1))


def _shorten(name: str) -> str:
  if len(name) <= _LONGEST_NAME:
    return name
  return f'{name[: _LONGEST_NAME - 3]}...'


def _distinct(labels: Sequence[str]) -> list[str]:
  """Returns labels, numbered where two are equal."""
  seen: dict[str, int] = {}
  found = []
  for label in labels:
    seen[label] = seen.get(label, 0) + 1
    found.append(label if seen[label] == 1 else f'{label} ({seen[label]})')
  return found


def bias_tables(tables: np.ndarray, heads: Sequence[int]) -> tuple[Any, float]:
  """Draws tables of relative biases, one a head, side by side.

  Args:
    tables: [heads, 2H-1, 2W-1] of one layer.
    heads: Which of them.

  Returns:
    The figure: how far the key is below and to the right of the query, and in
    colour the bias; and the largest bias in it, by size.
  """
  rows, columns = tables.shape[1:]
  models = style.bokeh('models')
  gap = max(1, columns // 8)
  width = len(heads) * (columns + gap) - gap
  figure = style.figure(
    tools='', x_range=(-1, width + 1), y_range=(rows + 0.5, -0.5 - rows / 8)
  )
  figure.height, figure.min_height = 190, 60
  figure.axis.visible = figure.grid.visible = False
  figure.match_aspect = True
  limit = float(np.abs(tables[list(heads)]).max()) or 1.0
  colours = models.LinearColorMapper(
    palette=style.bokeh('palettes').interp_palette(_TINTS, 64),
    low=-limit,
    high=limit,
  )
  # P is read at query - key; people look from the query to the key.
  down, right = np.meshgrid(
    np.arange(rows) - rows // 2,
    np.arange(columns) - columns // 2,
    indexing='ij',
  )
  for place, head in enumerate(heads):
    left = place * (columns + gap)
    source = models.ColumnDataSource(
      {
        'image': [tables[head, ::-1, ::-1].astype(np.float32)],
        'down': [down.astype(np.int32)],
        'right': [right.astype(np.int32)],
      }
    )
    drawn = figure.image(
      'image',
      x=left,
      y=0,
      dw=columns,
      dh=rows,
      source=source,
      color_mapper=colours,
    )
    figure.text(
      [left],
      [-0.2],
      [f'head {head}'],
      text_color=style.WORDS,
      text_font_size='11px',
      text_baseline='bottom',
    )
    tooltips = [
      (f'head {head}', '@image{0.0000}'),
      ('key below query by', '@down'),
      ('right of it by', '@right'),
    ]
    style.add_hover(figure, drawn, tooltips)
  return figure, limit
