"""How exports lie on disk: numbered folders, and what each of them holds.

<export_dir>/<version>/           where TF Serving looks
  saved_model.pb, variables/      graph, signatures and weights
  assets/labels.txt               names of the classes, used by the graph
  assets.extra/                   requests to warm a server up
  config.gin, experiment.json     the run, as it was set (config.gin if the
                                  run had gin files)
  data.json                       what the data of the run were, if it kept it:
                                  classes, and how the images were prepared
  export.json                     where it comes from and how it was made
  README.md                       the model card

An export for another runtime (`runtimes`) has model.tflite or model.onnx in the
place of the first three lines, and labels.txt, the names of the classes.

Nothing here knows the network, so that whoever uses an export need not load it.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from official_coatnet import files
from official_coatnet.data import facts as facts_lib, image_files
from official_coatnet.export.options import ExportOptions
from official_coatnet.training import writer

# Within the folder of an export; `experiment.json` is as in the run's.
GRAPH_FILE = 'saved_model.pb'
LABELS_FILE = os.path.join('assets', 'labels.txt')
# The file that makes a folder an export, by format.
FORMATS = {
  'saved_model': GRAPH_FILE,
  'tflite': 'model.tflite',
  'onnx': 'model.onnx',
}
# TF Serving looks for this name.
WARMUP_FILE = os.path.join('assets.extra', 'tf_serving_warmup_requests')
CONFIG_FILE = 'config.gin'
DATA_FILE = image_files.DATA_FILE
PROVENANCE_FILE = 'export.json'
CARD_FILE = 'README.md'
# After which what was left half written is nobody's, wherever it comes from.
_LEFTOVER_SECONDS = 24 * 3600


@dataclasses.dataclass(frozen=True)
class Provenance:
  """Where an export comes from and how it was made: its export.json.

  Attributes:
    model_dir: Folder of the run.
    checkpoint: Name of the checkpoint in it.
    weights: 'ema' or 'raw'.
    folded: Whether norms are folded into convolutions.
    options: The rest.
    own_labels: Whether the names of the classes are the run's own, and not a
      file of the user's; None in exports of versions that did not tell.
    format: One of `FORMATS`.
    quantize: One of `runtimes.QUANTIZATIONS`.
    difference: What `runtimes.Difference` holds; None for a SavedModel.
  """

  model_dir: str
  checkpoint: str
  weights: str
  folded: bool
  options: ExportOptions
  own_labels: bool | None = None
  format: str = 'saved_model'
  quantize: str = 'none'
  difference: dict[str, Any] | None = None


def list_versions(export_dir: str) -> list[int]:
  """Returns the versions in a folder, lowest first; [] if it does not exist."""
  if not tf.io.gfile.isdir(export_dir):
    return []
  # Folders of object stores come with a slash at their end.
  names = (name.rstrip('/') for name in tf.io.gfile.listdir(export_dir))
  return sorted(int(name) for name in names if re.fullmatch(r'[0-9]+', name))


def find_latest(export_dir: str) -> str:
  """Returns the path of the export with the highest version.

  Raises:
    ValueError: If there is none.
  """
  versions = list_versions(export_dir)
  if not versions:
    raise ValueError(f'No export in {export_dir!r}: {_why_none(export_dir)}')
  return os.path.join(export_dir, str(versions[-1]))


def _why_none(path: str) -> str:
  remedy = 'Run tools/export.py first, or give the folder it wrote to.'
  if not tf.io.gfile.exists(path):
    return f'there is no such folder. {remedy}'
  if not tf.io.gfile.isdir(path):
    return 'it is a file; give the folder of the export.'
  if tf.io.gfile.exists(os.path.join(path, 'checkpoint')):
    return (
      'it is the model_dir of a run; tools/export.py makes an export of it, '
      f'with --model_dir={path}.'
    )
  return f'it has no folder with a number for a name. {remedy}'


def load(path: str) -> Any:
  """Loads an export, as `tf.saved_model.load`.

  Raises:
    ValueError: If it is damaged, or none of this package.
  """
  try:
    loaded = tf.saved_model.load(path)
    if 'serving_default' in loaded.signatures:
      return loaded
    why = 'it has no signature serving_default'
  except (OSError, AttributeError, tf.errors.OpError) as e:
    why = 'its files are damaged, cut off, or of something else'
    cause: Exception | None = e
  else:
    cause = None
  raise ValueError(
    f'The export {path} cannot be loaded: {why}. Copy it again, or make it '
    'anew by tools/export.py.'
  ) from cause


def find_format(path: str) -> str | None:
  """Returns which of `FORMATS` the export at `path` has; None if it is none."""
  for name, file in FORMATS.items():
    if tf.io.gfile.exists(os.path.join(path, file)):
      return name
  return None


def find_export(path: str, *, formats: Sequence[str] = ('saved_model',)) -> str:
  """Returns `path` if it is an export, or else the latest version in it.

  Args:
    path: The export, or the folder of its versions.
    formats: Which of `FORMATS` it may have.

  Raises:
    ValueError: If it is neither, or of another format.
  """
  files.check_no_pattern(path, name='The export', is_new=False)
  found = find_format(path)
  if found is None:
    path = find_latest(path)
    found = find_format(path)
  if found is not None and found not in formats:
    raise ValueError(
      f'{path!r} is an export of the format {found} ({FORMATS[found]}); what '
      f'is needed here is {" or ".join(formats)}. Export again with '
      f'--format={formats[0]}.'
    )
  return path


def choose_version(
  export_dir: str,
  *,
  version: int | None = None,
  file_format: str = 'saved_model',
) -> int:
  """Returns `version` if it is free, or the next free one if it is None.

  Raises:
    ValueError: If the version is taken or not a number from 0, or `export_dir`
      has versions of another format or is a name under which TensorFlow would
      not find the export again.
  """
  files.check_no_pattern(export_dir, name='`export_dir`')
  versions = list_versions(export_dir)
  # Of any it says the same: the first export of a folder settles it.
  found = versions and find_format(os.path.join(export_dir, str(versions[-1])))
  if found and found != file_format:
    raise ValueError(
      f'`export_dir` is {export_dir!r}, which has versions of the format '
      f'{found}, and this one would be {file_format}: TF Serving loads what '
      'has the highest number. Give a folder of its own.'
    )
  if version is None:
    return versions[-1] + 1 if versions else 1
  if version < 0:
    raise ValueError(
      f'`version` is {version}; it must be 0 or more: TF Serving reads the '
      'name of the folder as a number. Leave it out for the next free one.'
    )
  if version in versions:
    raise ValueError(
      f'`version` is {version}, which {export_dir!r} has already (it has '
      f'{versions}). Leave it out for the next free one.'
    )
  return version


@contextlib.contextmanager
def new_version(export_dir: str, *, version: int) -> Iterator[str]:
  """Makes a version appear complete or not at all.

  What is in the context writes into a hidden folder beside it, which gets its
  number by one rename at the end, and is removed if anything fails. (On an
  object store such as gs:// a rename is a copy, file by file.) What was killed
  in between has left its hidden folder: those are removed then, too.

  Args:
    export_dir: Folder of the versions; created.
    version: Its number, free.

  Yields:
    The folder to write to.

  Raises:
    ValueError: If `export_dir` cannot be written, or the number is taken when
      the context ends.
  """
  # The leading dot keeps servers from taking it for a version.
  temporary = os.path.join(export_dir, f'.{version}.tmp-{writer.mark()}')
  try:
    tf.io.gfile.makedirs(temporary)
  except (OSError, tf.errors.OpError) as e:
    raise ValueError(
      f'`export_dir` is {export_dir!r}, which cannot be written ({e}). Give a '
      'folder that exists or can be created, and where you may write.'
    ) from e
  try:
    yield temporary
    _publish(temporary, os.path.join(export_dir, str(version)))
    _remove_leftovers(export_dir)
  except BaseException:  # An interrupt by the user leaves nothing either.
    with contextlib.suppress(tf.errors.OpError):
      tf.io.gfile.rmtree(temporary)
    raise


def _publish(temporary: str, path: str):
  try:
    tf.io.gfile.rename(temporary, path)
  except tf.errors.OpError as e:
    raise ValueError(
      f'The export cannot be renamed to {path!r} ({e.message}). Another export '
      'may have taken that number meanwhile; export again.'
    ) from e


def _remove_leftovers(export_dir: str):
  """Removes what exports that were killed have left behind.

  One of another machine may still be under way: it is left there for a day. So
  is one of an earlier version of this package, which had no mark.
  """
  for name in tf.io.gfile.listdir(export_dir):
    name = name.rstrip('/')
    if not re.fullmatch(r'\.\d+\.tmp-[-\w]+', name):
      continue
    path = os.path.join(export_dir, name)
    try:
      age = time.time() - _last_change(path)
      if writer.has_ended(name) or age > _LEFTOVER_SECONDS:
        tf.io.gfile.rmtree(path)
    except tf.errors.NotFoundError:
      pass  # It has got its number, or was removed by another export.
    except tf.errors.OpError as e:
      logging.warning('%s is of no use, and cannot be removed: %s.', path, e)


def _last_change(path: str) -> float:
  """Returns when a file in a folder was written last, in seconds."""
  paths = [
    os.path.join(folder, name)
    for folder, _, names in tf.io.gfile.walk(path)
    for name in names
  ]
  times = [tf.io.gfile.stat(each).mtime_nsec / 1e9 for each in (path, *paths)]
  return max(times)


@contextlib.contextmanager
def writing(export_dir: str) -> Iterator[None]:
  """Says of an error while writing what may be done about it.

  Raises:
    ValueError: If a file cannot be written.
  """
  try:
    yield
  except (OSError, tf.errors.OpError) as e:
    raise ValueError(
      f'The export cannot be written to {export_dir!r} ({e}). Is '
      'there enough space? Nothing of it is left behind.'
    ) from e


def write_provenance(provenance: Provenance, path: str):
  """Writes export.json into the export at `path`."""
  values = dataclasses.asdict(provenance)
  values['options'] = provenance.options.to_dict()
  text = json.dumps(values, indent=2) + '\n'
  files.write_text(os.path.join(path, PROVENANCE_FILE), text)


def read_provenance(path: str) -> Provenance:
  """Reads export.json of the export at `path`.

  Raises:
    ValueError: If there is none, or it is of another version.
  """
  file = os.path.join(path, PROVENANCE_FILE)
  try:
    with tf.io.gfile.GFile(file) as f:
      values = json.loads(f.read())
    options = ExportOptions.from_dict(values.pop('options'))
    return Provenance(options=options, **values)
  except (tf.errors.OpError, ValueError, TypeError, KeyError) as e:
    raise ValueError(
      f'{file!r} cannot be read ({e}): {path!r} is no export of this version '
      'of tools/export.py, or damaged.'
    ) from e


def write_data(path: str, facts: facts_lib.DataFacts):
  """Writes data.json into the export at `path`."""
  files.write_text(os.path.join(path, DATA_FILE), facts.to_json())


def read_data(path: str) -> facts_lib.DataFacts | None:
  """Reads data.json of the export at `path`: what its run was trained on.

  Returns:
    None where there is none: the run or the export is of an earlier version.

  Raises:
    ValueError: If the file cannot be read.
  """
  return facts_lib.read(os.path.join(path, DATA_FILE))


def read_labels(path: str, *, num_classes: int) -> list[str]:
  """Reads the names of the classes, one a line, in the order of their ids.

  Raises:
    ValueError: If they are not as many as the classes, or one is empty.
  """
  try:
    # Not splitlines(): it splits at characters that a name may hold.
    labels = [line.strip() for line in files.read_text(path).split('\n')]
  except (tf.errors.OpError, ValueError) as e:
    raise ValueError(
      f'The labels {path!r} cannot be read ({e}). Give a text file in UTF-8 '
      'with one class name a line.'
    ) from e
  if not labels[-1]:
    labels.pop()  # What follows the last line's end.
  if len(labels) != num_classes:
    raise ValueError(
      f'{path!r} has {len(labels)} labels, and the network {num_classes} '
      'classes; they must be as many, one a line in the order of the class '
      'ids. Give the file that belongs to the data of this run.'
    )
  if '' in labels:
    raise ValueError(
      f'{path!r} has no name in line {labels.index("") + 1}; each class needs '
      'one.'
    )
  return labels
