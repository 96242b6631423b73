"""An evaluation class by class: as a dict, as text, and as files.

    classes.csv      a line a class: images, accuracy, precision, what it is
                     most often taken for
    confusion.csv    a line for each class and what it was taken for, itself
                     included: the matrix without its zeros
    classes.json     the same, and the most confused pairs with the numbers of
                     their images
    classes.png      the matrix, or where it would be too large the most
                     confused pairs; and how accuracy is spread over classes
    confused.png     images of the most confused pairs

Where an image has several labels nothing is confused with anything:
`training.per_class` says why. Then there are the CSV and JSON of the classes
and the first picture.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from official_coatnet import files
from official_coatnet.analysis.runs import drawings
from official_coatnet.data import lookup
from official_coatnet.training import per_class

# Pairs that are listed in JSON, and images of each; pairs and images that are
# drawn; lines of text of each kind.
_PAIRS = 100
_IMAGES = 20
_DRAWN_PAIRS, _DRAWN_IMAGES = 12, 4
_LINES = 10


def summarize(
  tally: per_class.Tally, *, names: Sequence[str] | None = None
) -> dict[str, Any]:
  """Computes what is written.

  Args:
    tally: Of an evaluation.
    names: Of the classes; their numbers if there are none.

  Returns:
    `step`, `several_labels`, `classes`: a dict each, `class` (its number),
    `name` and `images`, then with one label an image `accuracy`,
    `top5_accuracy`, `predicted` (images that are taken for it), `precision`,
    `taken_for` (what it is most often mistaken for, by name) and
    `taken_for_count`; with several `recall_at_1`, `recall_at_5`, `predicted`,
    `precision_at_1`, and of the classes with a probability of 0.5 or more
    `predicted_at_half`, `precision_at_half` and `recall_at_half`. What would be
    a share of no images is None. `mean_accuracy`, over the classes that have
    images, of `accuracy` or `recall_at_1`. With one label `confused`, the
    most frequent pairs: `label`, `label_name`, `prediction`, `prediction_name`,
    `count`, `share` of the images of the label, and `images`, the numbers of
    those where the network was surest.
  """
  names = names or [str(i) for i in range(len(tally.images))]
  mistakes = tally.mistakes
  pairs = mistakes.pairs()
  taken_for: dict[int, tuple[int, int]] = {}
  for label, prediction, places in pairs:  # The most frequent come first.
    taken_for.setdefault(label, (prediction, len(places)))
  classes: list[dict[str, Any]] = []
  for i, name in enumerate(names):
    row = {'class': i, 'name': name, 'images': int(tally.images[i])}
    if tally.several_labels:
      row |= _several_labels(tally, i)
    else:
      row |= _one_label(tally, i)
      other, count = taken_for.get(i, (None, 0))
      row['taken_for'] = None if other is None else names[other]
      row['taken_for_count'] = count
    classes.append(row)
  key = 'recall_at_1' if tally.several_labels else 'accuracy'
  known: list[Any] = [row[key] for row in classes if row[key] is not None]
  summary = {
    'step': tally.step,
    'several_labels': tally.several_labels,
    'mean_accuracy': float(np.mean(known)) if known else None,
    'classes': classes,
  }
  if not tally.several_labels:
    summary['confused'] = [
      {
        'label': label,
        'label_name': names[label],
        'prediction': prediction,
        'prediction_name': names[prediction],
        'count': len(places),
        'share': len(places) / int(tally.images[label]),
        'images': [int(mistakes.index[p]) for p in places[:_IMAGES]],
      }
      for label, prediction, places in pairs[:_PAIRS]
    ]
  return summary


def _share(part: np.integer, whole: np.integer) -> float | None:
  return int(part) / int(whole) if whole else None


def _one_label(tally: per_class.Tally, i: int) -> dict[str, Any]:
  return {
    'accuracy': _share(tally.right[i], tally.images[i]),
    'top5_accuracy': _share(tally.right_in_top_k[i], tally.images[i]),
    'predicted': int(tally.predicted[i]),
    'precision': _share(tally.right[i], tally.predicted[i]),
  }


def _several_labels(tally: per_class.Tally, i: int) -> dict[str, Any]:
  return {
    'recall_at_1': _share(tally.right[i], tally.images[i]),
    'recall_at_5': _share(tally.right_in_top_k[i], tally.images[i]),
    'predicted': int(tally.predicted[i]),
    'precision_at_1': _share(tally.right[i], tally.predicted[i]),
    'predicted_at_half': int(tally.over[i]),
    'precision_at_half': _share(tally.over_right[i], tally.over[i]),
    'recall_at_half': _share(tally.over_right[i], tally.images[i]),
  }


def cells(tally: per_class.Tally) -> list[tuple[int, int, int]]:
  """Returns (class, what it was taken for, images) of all that are not zero."""
  found = [
    (int(i), int(i), int(tally.right[i])) for i in np.flatnonzero(tally.right)
  ]
  found += [
    (int(a), int(b), len(places)) for a, b, places in tally.mistakes.pairs()
  ]
  return sorted(found)


def format_text(summary: dict[str, Any]) -> str:
  """Writes the worst classes and the most confused pairs."""
  several = summary['several_labels']
  key = 'recall_at_1' if several else 'accuracy'
  known = [row for row in summary['classes'] if row['images']]
  if not known:
    return f'Step {summary["step"]}: no image has a label.'
  word = 'recall at 1' if several else 'accuracy'
  lines = [
    f'Step {summary["step"]}: mean {word} '
    f'{100 * summary["mean_accuracy"]:.2f} % over {len(known)} classes with '
    'images.',
    f'Lowest {word}:',
  ]
  for row in sorted(known, key=lambda r: (r[key], -r['images']))[:_LINES]:
    lines.append(
      f'  {100 * row[key]:6.2f} % of {row["images"]:<6} {row["name"]}'
    )
  if summary.get('confused'):
    lines.append('Most confused:')
  for pair in summary.get('confused', ())[:_LINES]:
    lines.append(
      f'  {pair["count"]:6} ({100 * pair["share"]:5.1f} %)  '
      f'{pair["label_name"]} taken for {pair["prediction_name"]}'
    )
  return '\n'.join(lines)


def write(
  folder: str, tally: per_class.Tally, *, names: Sequence[str] | None = None
) -> list[str]:
  """Writes the files; without matplotlib those that are no pictures.

  Args:
    folder: Where to; created.
    tally: Of an evaluation.
    names: Of the classes.

  Returns:
    Their paths.

  Raises:
    OSError: If the folder cannot be written to, or a tf.errors.OpError.
  """
  summary = summarize(tally, names=names)
  named = [row['name'] for row in summary['classes']]
  texts = {'classes.csv': _csv(summary['classes'])}
  if not tally.several_labels:
    columns = ('label', 'label_name', 'prediction', 'prediction_name', 'images')
    texts['confusion.csv'] = _csv(
      [
        dict(zip(columns, (a, named[a], b, named[b], count)))
        for a, b, count in cells(tally)
      ],
      columns=columns,
    )
  texts['classes.json'] = json.dumps(summary, indent=1, ensure_ascii=False)
  paths = []
  for name, text in texts.items():
    paths.append(os.path.join(folder, name))
    files.write_text(paths[-1], text)
  try:
    drawn = _draw(folder, tally, summary)
  except ImportError:  # An extra, without which the numbers are there.
    drawn = []
  return [*paths, *drawn]


def _csv(rows: Sequence[dict[str, Any]], *, columns: Sequence[str] = ()) -> str:
  text = io.StringIO()
  columns = columns or list(rows[0])
  writer = csv.DictWriter(text, columns, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  return text.getvalue()


def _draw(
  folder: str, tally: per_class.Tally, summary: dict[str, Any]
) -> list[str]:
  paths = [os.path.join(folder, 'classes.png')]
  matrix = [] if tally.several_labels else cells(tally)
  drawings.classes(summary, paths[0], cells=matrix)
  chosen = [
    (pair, number)
    for pair in summary.get('confused', ())[:_DRAWN_PAIRS]
    for number in pair['images'][:_DRAWN_IMAGES]
  ]
  if not chosen:
    return paths
  images = lookup.evaluation_images(
    tally.experiment.eval_data,
    [number for _, number in chosen],
    source=tally.source,
  )
  mistakes = tally.mistakes
  place = {int(number): i for i, number in enumerate(mistakes.index)}
  named = [row['name'] for row in summary['classes']]
  results = [
    [
      (named[c], float(score))
      for c, score in zip(
        mistakes.classes[place[number]], mistakes.scores[place[number]]
      )
    ]
    for _, number in chosen
  ]
  paths.append(os.path.join(folder, 'confused.png'))
  drawings.predictions(
    [images.get(number) for _, number in chosen],
    results,
    paths[-1],
    names=[f'{pair["label_name"]} ({number})' for pair, number in chosen],
    title='The most confused pairs: what images are (and their numbers), and '
    'below what they are taken for',
  )
  return paths
