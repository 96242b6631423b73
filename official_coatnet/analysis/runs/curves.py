"""Training curves of a report: runs side by side, a panel a metric."""

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any

from official_coatnet.analysis.runs import (
  comparison,
  history as history_lib,
  style,
)

# Points of a curve; of more than this, every second (third, ...) is drawn.
_MAX_POINTS = 1500


@dataclasses.dataclass(frozen=True)
class Metric:
  """How a metric is drawn.

  Attributes:
    title: Of its panel.
    scale: What values are multiplied by.
    from_zero: Whether the axis begins at zero.
  """

  title: str
  scale: float = 1.0
  from_zero: bool = False


METRICS: Mapping[str, Metric] = types.MappingProxyType(
  {
    'loss': Metric('Loss (nats)'),
    'top1': Metric('Top-1 accuracy (%)', 100),
    'top5': Metric('Top-5 accuracy (%)', 100),
    'precision_at_1': Metric('Precision at 1 (%)', 100),
    'precision_at_5': Metric('Precision at 5 (%)', 100),
    'learning_rate': Metric('Learning rate', from_zero=True),
    'gradient_norm': Metric('Gradient norm, before clipping', from_zero=True),
    'images_per_second_per_core': Metric('Images/s/core', from_zero=True),
    'goodput': Metric('Goodput (% of the wall time)', 100, from_zero=True),
    'core_hours': Metric('Core-hours', from_zero=True),
    'bad_steps': Metric('Steps left out, of a loop', from_zero=True),
  }
)
# Said by another panel, or the same in all lines.
_NOT_DRAWN = ('images_per_second', 'examples', 'otherwise')


def panels(histories: Sequence[history_lib.History]) -> dict[str, list[str]]:
  """Returns what there is to draw: a metric to its keys.

  Returns:
    'loss' to ['train/loss', 'eval/loss'], and so on; metrics that this module
    does not know come last.
  """
  found: dict[str, list[str]] = {}
  keys = dict.fromkeys(key for h in histories for key in h.metrics())
  for key in sorted(keys, key=lambda key: not key.startswith('train/')):
    split, _, name = key.partition('/')
    if split in ('train', 'eval') and name not in _NOT_DRAWN:
      found.setdefault(name, []).append(key)
  if not any(v for h in histories for *_, v in h.points('train/bad_steps')):
    found.pop('bad_steps', None)  # `overview` says that there is none.
  order = list(METRICS)
  return {
    name: found[name]
    for name in sorted(
      found, key=lambda n: order.index(n) if n in order else len(order)
    )
  }


def curves(histories: Sequence[history_lib.History]) -> dict[str, Any]:
  """Draws the metrics of runs over their steps or epochs.

  Training is a line; evaluations are marked, each; where a run has gone on in a
  new process is a dotted line. All panels move along one axis.

  Returns:
    Title to figure.

  Raises:
    ImportError: If Bokeh is not installed; says how to install it.
  """
  by_epoch = _takes_epochs(histories)
  figures: dict[str, Any] = {}
  shared = None
  for name, keys in panels(histories).items():
    metric = METRICS.get(name, Metric(name.replace('_', ' ')))
    figure = style.figure(
      x_label='epoch' if by_epoch else 'step', tools='xpan,xbox_zoom,reset'
    )
    shared = shared or figure.x_range
    figure.x_range = shared
    figure.yaxis.formatter = style.bokeh('models').PrintfTickFormatter(
      format='%g'
    )
    if metric.from_zero:
      figure.y_range.start = 0
    for history, colour in zip(histories, style.colours(len(histories))):
      label = history.name if len(histories) > 1 else ''
      for key in keys:
        _draw_curve(
          figure,
          history,
          key,
          label=label,
          colour=colour,
          metric=metric,
          by_epoch=by_epoch,
        )
      _mark_restarts(figure, history, colour=colour, by_epoch=by_epoch)
    _draw_paper(figure, histories, name)
    style.place_legend(figure)
    figures[metric.title] = figure
  return figures


def _takes_epochs(histories: Sequence[history_lib.History]) -> bool:
  """Whether to draw over epochs: of less than one, people think in steps."""
  epochs = [line.get('epoch') for h in histories for line in h.lines]
  known = [epoch for epoch in epochs if epoch is not None]
  return len(known) == len(epochs) and max(known, default=0) >= 1


def _draw_curve(figure, history, key, *, label, colour, metric, by_epoch):
  points = history.points(key)
  if not points:
    return
  thinned = points[:: math.ceil(len(points) / _MAX_POINTS)]
  if thinned[-1] is not points[-1]:
    thinned.append(points[-1])
  steps, epochs, values = zip(*thinned)
  is_eval = key.startswith('eval/')
  kind = 'evaluation' if is_eval else 'training'
  source = style.bokeh('models').ColumnDataSource(
    {
      'x': epochs if by_epoch else steps,
      'y': [metric.scale * value for value in values],
      'value': [f'{metric.scale * value:.5g}' for value in values],
      'step': steps,
      'epoch': epochs,
    }
  )
  legend = f'{label}, {kind}' if label else kind
  look = {'color': colour, 'source': source, 'legend_label': legend}
  line = figure.line(
    'x',
    'y',
    line_width=2 if is_eval else 1.4,
    line_alpha=1 if is_eval else 0.6,
    **look,
  )
  drawn = line
  # Evaluations are few: each is marked. So is a line of one point, which could
  # not be seen otherwise.
  if is_eval or len(thinned) == 1:
    drawn = figure.scatter('x', 'y', size=6, **look)
  tooltips = [(legend, '@value'), ('step', '@step{0,0}')]
  if epochs[0] is not None:
    tooltips.append(('epoch', '@epoch{0.00}'))
  style.add_hover(figure, drawn, tooltips, mode='mouse' if is_eval else 'vline')


def _mark_restarts(figure, history, *, colour, by_epoch):
  steps = history.restarts()
  if not steps:
    return
  epochs = {line['step']: line.get('epoch') for line in history.lines}
  source = style.bokeh('models').ColumnDataSource(
    {'x': [epochs[s] if by_epoch else s for s in steps], 'step': steps}
  )
  spans = figure.vspan(
    'x',
    source=source,
    line_color=colour,
    line_dash='dotted',
    line_width=2,
    line_alpha=0.8,
    legend_label='restart',
  )
  words = (f'{history.name} went on', 'from step @step{0,0}')
  style.add_hover(figure, spans, [words])


def _draw_paper(figure, histories, name: str) -> None:
  """Draws the paper's number for each run as a line."""
  drawn = set()
  for history in histories:
    number = comparison.paper_number(history)
    if number is None or number.metric != name or number in drawn:
      continue
    drawn.add(number)
    source = style.bokeh('models').ColumnDataSource({'y': [number.accuracy]})
    line = figure.hspan(
      'y',
      source=source,
      line_color=style.WORDS,
      line_dash='dashed',
      line_width=2,
      legend_label=f'the paper, {number.where}: {number.accuracy}',
    )
    tooltips = [('the paper', f'{number.accuracy} % ({number.where})')]
    style.add_hover(figure, line, tooltips)
