"""The report of one run, or of several side by side.

Each part is made of what the folders hold, and says so where that is not
enough; only a folder that holds nothing of a run is refused.
"""

import html
import json
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_coatnet import extras, files
from official_coatnet.analysis.runs import (
  comparison,
  curves,
  figures,
  history as history_lib,
  page,
)
from official_coatnet.export import model_card
from official_coatnet.modeling import complexity
from official_coatnet.training import (
  checkpoints,
  model_dir as model_dir_lib,
)

# Pairs that are listed, and heads and layers that are drawn where nobody says.
_PAIRS = 12
_HEADS = (0, 1, 2, 3)
_BIAS = '/relative_bias'
# What evaluations class by class have drawn, of at most so many bytes each.
_CONFUSED = 'confused.png'
_MAX_PICTURE = 1_200_000
_CURVES, _WEIGHTS = 'drawing the curves', 'drawing classes and biases'
_CARDS, _PAGE = 'writing the cards', 'writing the page'
# What `make_page` does, and the seconds that each took for a run of CoAtNet-0
# on two cores; of several runs each step takes longer.
STEPS: Mapping[str, float] = types.MappingProxyType(
  {_CURVES: 1.5, _WEIGHTS: 1.0, _CARDS: 2.7, _PAGE: 0.5}
)

_NOTE = (
  'Training: means between two reports, over augmented images and smoothed '
  'labels, as the weights change. Evaluation: images and labels as they are. '
  'The tools beside a figure zoom all of them; a click on a name hides its '
  'curve.'
)


def check() -> None:
  """Raises ImportError, with what to install, if no page can be made."""
  for module in ('bokeh', 'markdown'):
    extras.load(module, extra='report', purpose='The report')


def make_page(
  histories: Sequence[history_lib.History],
  *,
  heads: Sequence[int] | None = None,
  layers: Sequence[str] | None = None,
  on_step: Callable[[str], None] = lambda step: None,
) -> str:
  """Writes the report as a page.

  Args:
    histories: Of `history.read`.
    heads: Whose relative biases to draw; the first four if None.
    layers: Of which layers, such as 's3/block1/attention' or the beginning of
      such names; the first and the last of each stage if None.
    on_step: Called with the name of each of the `STEPS` as it begins.

  Returns:
    HTML, of less than `page.MAX_BYTES` bytes.

  Raises:
    ImportError: If Bokeh is not installed; says how to install it.
    ValueError: If no run has such heads or layers, or the page were too large.
  """
  runs = [h.name for h in histories]
  notes = [*comparison.in_common(histories)]
  for history in histories:
    prefix = f'{history.name}: ' if len(histories) > 1 else ''
    notes += [prefix + sentence for sentence in history.missing]
  head = page.notes(notes) + page.table(
    comparison.overview(histories), head=['', *page.names(runs)]
  )
  on_step(_CURVES)
  sections = [*_curves(histories), *_differences(histories)]
  on_step(_WEIGHTS)
  sections += [
    *_classes(histories),
    *_biases(histories, heads=heads, layers=layers),
  ]
  on_step(_CARDS)
  sections += _of_each(histories, 'Model card', _card)
  on_step(_PAGE)
  sections += _of_each(histories, 'Configuration', _configuration)
  title = runs[0] if len(runs) == 1 else f'{len(runs)} runs: {", ".join(runs)}'
  text = page.render(title, head, sections)
  size = len(text.encode())
  if size > page.MAX_BYTES:
    raise ValueError(
      f'The report were of {size:,} bytes, which is more than '
      f'{page.MAX_BYTES:,}; take fewer runs.'
    )
  return text


def _curves(histories):
  drawn = curves.curves(histories)
  if not drawn:
    return
  found = [page.Figure(title, figure) for title, figure in drawn.items()]
  yield page.Section('Curves', figures=found, after=f'<p class="faint">{_NOTE}')


def _differences(histories):
  if len(histories) < 2:
    return
  changed = comparison.differences(histories)
  words = 'All settings that are not the same.'
  if not changed:
    words = 'No setting differs.'
  table = ''
  if changed:
    head = ['', *page.names([h.name for h in histories])]
    table = page.table(changed, head=head)
  yield page.Section('Differences between the runs', words, table)


def _of_each(
  histories: Sequence[history_lib.History],
  title: str,
  make: Callable[[history_lib.History], str],
):
  """Yields a section with what there is of each run, folded in if several."""
  parts = [(h.name, text) for h in histories if (text := make(h))]
  if not parts:
    return
  if len(histories) > 1:
    parts = [(name, page.details(name, text)) for name, text in parts]
  yield page.Section(title, html=''.join(text for _, text in parts))


def _configuration(history: history_lib.History) -> str:
  settings = history_lib.settings(history)
  if not settings:
    return ''
  rows = {name: [value] for name, value in settings.items()}
  return page.details('All settings', page.table(rows))


# --- Classes ------------------------------------------------------------------


def _classes(histories):
  found = {h.name: each for h in histories if (each := _find_classes(h))}
  if not found:
    return
  summaries = {name: summary for name, (_, summary) in found.items()}
  figure, words = figures.classes(summaries)
  text = ''
  for history in histories:
    if history.name in found:
      text += _confused(*found[history.name], name=history.name)
  steps = ', '.join(f'{n}: step {s["step"]:,}' for n, s in summaries.items())
  yield page.Section(
    'Classes',
    f'Of the last evaluation with --per_class ({steps}).',
    figures=[page.Figure('Accuracy by class', figure, words)],
    after=text,
  )


def _find_classes(history: history_lib.History) -> tuple[str, Any] | None:
  """Returns the newest evaluation class by class, and its folder."""
  any_step = model_dir_lib.evaluation_folder(history.model_dir, 0)
  parent = os.path.dirname(any_step)
  if not tf.io.gfile.isdir(parent):
    return None
  steps = [
    int(match.group(1))
    for name in tf.io.gfile.listdir(parent)
    if (match := re.fullmatch(r'\w+-(\d+)/?', name))
  ]
  for step in sorted(steps, reverse=True):
    folder = model_dir_lib.evaluation_folder(history.model_dir, step)
    path = os.path.join(folder, 'classes.json')
    if not tf.io.gfile.exists(path):
      continue
    try:
      return folder, json.loads(files.read_text(path))
    except ValueError as e:
      raise ValueError(
        f'{path} cannot be read ({e}): it was damaged. Delete it, or evaluate '
        'again with --mode=eval --per_class.'
      ) from e
  return None


def _confused(folder: str, summary: Any, *, name: str) -> str:
  """Returns the most confused pairs as HTML, with their images."""
  pairs = summary.get('confused', ())[:_PAIRS]
  if not pairs:
    return ''
  rows = {
    f'{pair["label_name"]} taken for {pair["prediction_name"]}': [
      pair['count'],
      f'{100 * pair["share"]:.1f} %',
    ]
    for pair in pairs
  }
  head = ['Most confused', 'images', 'of the class']
  text = f'<h3>{html.escape(name)}</h3>' + page.table(rows, head=head)
  path = os.path.join(folder, _CONFUSED)
  if not tf.io.gfile.exists(path):
    return text
  with tf.io.gfile.GFile(path, 'rb') as f:
    if f.size() > _MAX_PICTURE:
      return f'{text}<p>Their images: {html.escape(path)}</p>'
    words = 'Images of the most confused pairs, and what they are taken for'
    return text + page.picture(f.read(), kind='image/png', words=words)


# --- Weights ------------------------------------------------------------------


def _stored(history: history_lib.History) -> checkpoints.StoredWeights | None:
  """Returns the weights that count of a run; None where there are none."""
  if history.experiment is None:
    return None
  try:
    return checkpoints.StoredWeights(
      history.model_dir, weights=history.experiment.run.weights
    )
  except ValueError:  # The report is of a run that may have none yet.
    return None


def _biases(histories, *, heads, layers):
  drawn = []
  for history in histories:
    stored = _stored(history)
    if stored is None:
      continue
    for layer in _layers(stored, layers):
      tables = stored.read(layer + _BIAS)
      shown = [h for h in heads or _HEADS if h < len(tables)]
      if not shown:
        continue
      figure, limit = figures.bias_tables(tables, shown)
      of_run = f'{history.name}, ' if len(histories) > 1 else ''
      words = (
        f'{len(shown)} of {len(tables)} heads; blue {-limit:.3g}, red '
        f'{limit:.3g}'
      )
      drawn.append(page.Figure(f'{of_run}{layer}', figure, words))
  if drawn:
    yield page.Section(
      'Relative biases',
      'What a head adds to its attention, by where the key lies seen from the '
      'query, which is in the middle.',
      figures=drawn,
    )
  elif heads or layers:
    raise ValueError(
      f'No run has relative biases of the heads {heads} in the layers '
      f'{layers}. Without --heads and --layers those are drawn that there are.'
    )


def _layers(
  stored: checkpoints.StoredWeights, wanted: Sequence[str] | None
) -> list[str]:
  """Returns layers with a table: those wanted, or two of each stage."""
  known = [n.removesuffix(_BIAS) for n in stored.shapes if n.endswith(_BIAS)]
  known.sort(
    key=lambda n: [int(p) if p.isdigit() else p for p in re.split(r'(\d+)', n)]
  )
  if wanted:
    return [name for name in known if name.startswith(tuple(wanted))]
  stages: dict[str, list[str]] = {}
  for name in known:
    stages.setdefault(name.split('/')[0].split('_')[0], []).append(name)
  ends = [name for names in stages.values() for name in (names[0], names[-1])]
  return list(dict.fromkeys(ends))


def _card(history: history_lib.History) -> str:
  stored, experiment = _stored(history), history.experiment
  if stored is None or experiment is None:
    return ''
  text = model_card.make_run_card(
    experiment,
    model_dir=history.model_dir,
    stored=stored,
    count=complexity.count(experiment.model)[-1],
  )
  markdown = extras.load('markdown', extra='report', purpose='The report')
  # Names in it are the user's own, and no HTML.
  escaped = html.escape(text, quote=False)
  made = markdown.markdown(escaped, extensions=['tables'])
  return re.sub(r'<(/?)h2>', r'<\1h3>', made)
