"""What says which checkpoint of a model_dir is the best: best.json.

best-<step>.*   the checkpoint, as `checkpoints` has them
best.json       {"metric": "top1", "value": 0.93, "step": 60, "later": [70]}
"""

import dataclasses
import json
import os

import tensorflow as tf

from official_coatnet import files

NAME = 'best'
FILE = 'best.json'


@dataclasses.dataclass(frozen=True)
class Best:
  """The best checkpoint of a run.

  Attributes:
    metric: By what it is the best, `RunConfig.best_metric`.
    value: Of the metric.
    step: Of the checkpoint.
    later: Steps of the evaluations since, none of which was better.
  """

  metric: str
  value: float
  step: int
  later: tuple[int, ...] = ()


def prefix(model_dir: str, step: int | str) -> str:
  """Returns the path of a best checkpoint, without ending."""
  return os.path.join(model_dir, f'{NAME}-{step}')


def write(model_dir: str, best: Best) -> None:
  """Writes best.json; its checkpoint has to be there."""
  text = json.dumps(dataclasses.asdict(best)) + '\n'
  files.write_text(os.path.join(model_dir, FILE), text)


def read(model_dir: str) -> Best | None:
  """Reads best.json; None where there is none, or no longer its checkpoint.

  Raises:
    ValueError: If the file cannot be read.
  """
  path = os.path.join(model_dir, FILE)
  if not tf.io.gfile.exists(path):
    return None
  try:
    fields = json.loads(files.read_text(path))
    best = Best(**{**fields, 'later': tuple(fields['later'])})
  except (ValueError, TypeError, KeyError) as e:
    raise ValueError(
      f'{path} cannot be read ({e}): it is damaged. Delete it, and the latest '
      'checkpoint of the folder is taken instead of the best one.'
    ) from e
  index = prefix(model_dir, best.step) + '.index'
  return best if tf.io.gfile.exists(index) else None


def remove(model_dir: str, *, but: int | None = None) -> None:
  """Removes the best checkpoints, but for that of a step, and best.json."""
  kept = None if but is None else f'{NAME}-{but}.'
  if kept is None and tf.io.gfile.exists(os.path.join(model_dir, FILE)):
    tf.io.gfile.remove(os.path.join(model_dir, FILE))
  for path in tf.io.gfile.glob(prefix(model_dir, '*')):
    if kept is None or not os.path.basename(path).startswith(kept):
      tf.io.gfile.remove(path)
