"""What a run leaves in its folder, and how each part is written and read.

<model_dir>/
  experiment.json         the run, from which evaluation and export rebuild it
  data.json               what its data were when it began: classes, labels,
                          counts; never rewritten while there is a checkpoint
  config.gin              what gin files and bindings set, if there were any
  operative_config.gin    what was used, Python's defaults included
  labels.txt              names of the classes, one a line, if they are known
  weights.json            where the weights are from, if they were imported
  metrics.jsonl           one object a line, for each loop and evaluation
  ckpt-<step>.*           checkpoints; `checkpoints` says what is in them
  checkpoint              which of them are there, and the latest
  best-<step>.*           the best one so far, with RunConfig.best_metric
  best.json               which it is, by what, and the evaluations since
  writer.json             which process trains here; while it does
  trackers.json           which runs of experiment trackers are this one
  train/, eval/           TensorBoard events, from orbit
  events.out.tfevents.*   what TensorBoard shows beside the curves (`details`)
  evaluation/ckpt-<step>/ what an evaluation class by class has found
  export/                 of a dry run: versions, as TF Serving reads them
  restarted-<time>/       what was there before a --restart
"""

import dataclasses
import json
import os
from collections.abc import Sequence

import tensorflow as tf

from official_coatnet import files
from official_coatnet.data import facts as facts_lib, image_files
from official_coatnet.training import (
  checkpoint_files,
  experiment as experiment_lib,
  metrics_file,
)

EXPERIMENT_FILE = 'experiment.json'
DATA_FILE = image_files.DATA_FILE
CONFIG_FILE = 'config.gin'
# How lines of it begin that say which gin files it was made of.
CONFIG_ORIGIN = '# From '
OPERATIVE_CONFIG_FILE = 'operative_config.gin'
LABELS_FILE = 'labels.txt'
METRICS_FILE = metrics_file.FILE
WEIGHTS_FILE = 'weights.json'
TRACKERS_FILE = 'trackers.json'
CHECKPOINT_NAME = checkpoint_files.NAME
OTHER_EVALUATION = metrics_file.OTHER_EVALUATION
MetricsFile = metrics_file.MetricsFile
read_metrics = metrics_file.read
own_evaluations = metrics_file.own_evaluations


def write_experiment(
  model_dir: str, experiment: experiment_lib.Experiment
) -> None:
  """Writes experiment.json, from which evaluation and export rebuild a run."""
  text = json.dumps(experiment.to_dict(), indent=2) + '\n'
  files.write_text(os.path.join(model_dir, EXPERIMENT_FILE), text)


def read_experiment(model_dir: str) -> experiment_lib.Experiment:
  """Reads the experiment of a model_dir.

  Raises:
    FileNotFoundError: If the folder is not one of a run.
    ValueError: If the file cannot be read.
  """
  path = os.path.join(model_dir, EXPERIMENT_FILE)
  if not tf.io.gfile.exists(path):
    raise FileNotFoundError(
      f'{path} does not exist: {model_dir!r} is not the model_dir of a run.'
    )
  try:
    with tf.io.gfile.GFile(path) as f:
      return experiment_lib.Experiment.from_dict(json.loads(f.read()))
  except (ValueError, TypeError, KeyError, AttributeError) as e:
    raise ValueError(
      f'{path} cannot be read ({e}): it was written by another version of this '
      'package, or damaged.'
    ) from e


def write_data(folder: str, facts: facts_lib.DataFacts) -> None:
  """Writes data.json: what the data of a run were when it began."""
  files.write_text(os.path.join(folder, DATA_FILE), facts.to_json())


def read_data(model_dir: str) -> facts_lib.DataFacts | None:
  """Reads data.json of a run.

  Where data.json has a checksum of too many names, they are those of labels.txt
  if it has the same.

  Returns:
    None where there is none: the folder is of an earlier version.

  Raises:
    ValueError: If the file cannot be read.
  """
  facts = facts_lib.read(os.path.join(model_dir, DATA_FILE))
  if facts is None or facts.train.class_names or not facts.train.class_digest:
    return facts
  names = read_labels(model_dir)
  return facts_lib.DataFacts(
    facts.train.with_names(names), facts.validation.with_names(names)
  )


def write_config(model_dir: str, text: str) -> None:
  """Writes config.gin."""
  files.write_text(os.path.join(model_dir, CONFIG_FILE), text)


def copy_config(model_dir: str, folder: str) -> None:
  """Copies config.gin into another folder, if the run has one."""
  path = os.path.join(model_dir, CONFIG_FILE)
  if tf.io.gfile.exists(path):
    tf.io.gfile.copy(path, os.path.join(folder, CONFIG_FILE))


def write_operative_config(model_dir: str, text: str) -> None:
  """Writes operative_config.gin."""
  files.write_text(os.path.join(model_dir, OPERATIVE_CONFIG_FILE), text)


def write_labels(folder: str, names: Sequence[str]) -> str:
  """Writes labels.txt, the names of the classes, and returns its path."""
  path = os.path.join(folder, LABELS_FILE)
  files.write_text(path, ''.join(f'{name}\n' for name in names))
  return path


@dataclasses.dataclass(frozen=True)
class Origin:
  """Where imported weights are from.

  Attributes:
    source: The name or path that was asked for.
    file: Name of the file that they were read from.
    sha256: Its checksum.
    url: Where it was fetched from, or is to be had; None if not known.
    licence: Of the weights; None if not known.
    top1: Published top-1 on ImageNet-1K in percent; None if there is none.
  """

  source: str
  file: str
  sha256: str
  url: str | None = None
  licence: str | None = None
  top1: float | None = None


def write_origin(model_dir: str, origin: Origin) -> None:
  """Writes weights.json."""
  text = json.dumps(dataclasses.asdict(origin), indent=2) + '\n'
  files.write_text(os.path.join(model_dir, WEIGHTS_FILE), text)


def read_origin(model_dir: str) -> Origin | None:
  """Reads weights.json; None where the weights were not imported.

  Raises:
    ValueError: If the file cannot be read.
  """
  path = os.path.join(model_dir, WEIGHTS_FILE)
  try:
    values = files.read_json(path)
    return values and Origin(**values)
  except (ValueError, TypeError) as e:
    raise ValueError(
      f'{path} cannot be read ({e}): it was damaged, or written by another '
      'version of this package. Import the weights again.'
    ) from e


def find_labels(model_dir: str) -> str | None:
  """Returns the path of labels.txt, or None if the run has none."""
  path = os.path.join(model_dir, LABELS_FILE)
  return path if tf.io.gfile.exists(path) else None


def read_labels(model_dir: str) -> tuple[str, ...] | None:
  """Returns the names in labels.txt, or None if the run has none.

  Raises:
    ValueError: If the file is not text in UTF-8.
  """
  path = find_labels(model_dir)
  if path is None:
    return None
  try:
    # Not splitlines(): it splits at characters that a name may hold.
    lines = [line.strip() for line in files.read_text(path).split('\n')]
  except ValueError as e:
    raise ValueError(
      f'{path} cannot be read ({e}): it must be text in UTF-8 with one class '
      'name a line. Write it again, or delete it.'
    ) from e
  return tuple(lines[:-1] if not lines[-1] else lines)


# Who has a model_dir finds it here, too.
find_checkpoint = checkpoint_files.find


def checkpoint_step(prefix: str) -> int:
  """Returns the step in a checkpoint's name, `ckpt-<step>`."""
  return int(os.path.basename(prefix).rpartition('-')[2])


def events_folder(model_dir: str, kind: str) -> str:
  """Returns the folder of TensorBoard events of 'train' or 'eval'."""
  return os.path.join(model_dir, kind)


def export_folder(model_dir: str) -> str:
  """Returns the folder of the exports that a dry run makes."""
  return os.path.join(model_dir, 'export')


def evaluation_folder(model_dir: str, step: int) -> str:
  """Returns the folder of an evaluation class by class."""
  return os.path.join(model_dir, 'evaluation', f'{CHECKPOINT_NAME}-{step}')


def is_writable(folder: str) -> bool:
  """Whether files can be written there; it is tried."""
  path = os.path.join(folder, '.writable')
  try:
    files.write_text(path, '')
    tf.io.gfile.remove(path)
  except (OSError, tf.errors.OpError):
    return False
  return True
