"""Writes images as TFRecord files that training reads.

    python tools/tfrecords.py demo --output_dir=D
        Handwritten digits that come with scikit-learn: 1,347 images to train,
        450 to evaluate, and some of the latter as .jpg files in D/images.

    python tools/tfrecords.py folder --input_dir=I --output_dir=D
        Images in I, a folder for each class. --validation_fraction=0.1 holds
        out a tenth of them. Images that cannot be read are listed and left out.

A manifest beside the files says what is in them. What is there and complete is
not written again; a run that was stopped is started again the same way.
"""

import os
import sys
import time
from collections.abc import Mapping

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

# So that the tool runs from a clone, from any folder, without installation.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402

from official_coatnet.data import demo_digits, folder, manifest  # noqa: E402

_OUTPUT_DIR = flags.DEFINE_string(
  'output_dir', None, 'Folder to write records and manifests to.'
)
_INPUT_DIR = flags.DEFINE_string(
  'input_dir', None, 'folder: folder of class folders to read images from.'
)
_NUM_SHARDS = flags.DEFINE_integer(
  'num_shards',
  None,
  'Files of the train split, 8 for demo and 16 for folder if not set. A '
  'training host reads files of its own: have at least as many, better several '
  'times as many, as hosts.',
  lower_bound=1,
)
_VALIDATION_FRACTION = flags.DEFINE_float(
  'validation_fraction',
  0.0,
  'folder: share of the images to hold out as split "validation", chosen by a '
  'hash of their names.',
)

_MAX_FAILURES_SHOWN = 20


class Progress:
  """Prints how far a job is, how fast it goes and when it will be done."""

  def __init__(self):
    self._start = time.monotonic()
    self._last_print = self._start
    self._interval = 0.5 if sys.stderr.isatty() else 10.0

  def __call__(self, done: int, total: int | None) -> None:
    """Reports `done` of `total` images; prints now and then."""
    now = time.monotonic()
    if done == 1:  # A new split.
      self._start = now
      return
    if now - self._last_print < self._interval and done != total:
      return
    self._last_print = now
    rate = (done - 1) / max(now - self._start, 1e-6)
    line = f'{done:,} images, {rate:,.0f}/s'
    if total:
      line = f'{done:,} of {total:,} images, {rate:,.0f}/s'
      if done < total:
        line += f', {_duration((total - done) / rate)} to go'
    end = '\r' if sys.stderr.isatty() and done != total else '\n'
    print(f'{line:<60}', end=end, file=sys.stderr, flush=True)


def demo() -> dict[str, manifest.Manifest]:
  """Writes the digits of the demo."""
  shards = {}
  if _NUM_SHARDS.value is not None:
    shards['num_train_shards'] = _NUM_SHARDS.value
  return demo_digits.write_digits(
    _OUTPUT_DIR.value, progress=Progress(), **shards
  )


def from_folder() -> dict[str, manifest.Manifest]:
  """Writes a folder of class folders."""
  if not _INPUT_DIR.value:
    raise ValueError(
      '--input_dir is not set; give the folder that holds a folder of images '
      'for each class.'
    )
  return folder.write_folder(
    _INPUT_DIR.value,
    _OUTPUT_DIR.value,
    num_shards=_NUM_SHARDS.value or 16,
    validation_fraction=_VALIDATION_FRACTION.value,
    progress=Progress(),
  )


COMMANDS = {'demo': demo, 'folder': from_folder}


def main(argv: list[str]) -> None:
  """Runs the sub-command that is named first."""
  if len(argv) != 2 or argv[1] not in COMMANDS:
    raise app.UsageError(
      f'name one of {sorted(COMMANDS)}, as in: tfrecords.py demo --output_dir=D'
    )
  try:
    if not _OUTPUT_DIR.value:
      raise ValueError('--output_dir is not set; give the folder to write to.')
    manifests = COMMANDS[argv[1]]()
  except (ValueError, ImportError, OSError, tf.errors.OpError) as error:
    sys.exit(f'tfrecords.py {argv[1]}: {error}')
  _report(manifests)


def _report(manifests: Mapping[str, manifest.Manifest]) -> None:
  """Prints what there is now, and what was left out."""
  for split, each in manifests.items():
    size = sum(file.bytes for file in each.files)
    print(
      f'{split}: {each.num_examples:,} images of {each.num_classes} classes in '
      f'{len(each.files)} files ({size / 1e6:,.1f} MB) in {_OUTPUT_DIR.value}'
    )
    if each.failures:
      print(f'{split}: left out, {len(each.failures)}:')
    for failure in each.failures[:_MAX_FAILURES_SHOWN]:
      print(f'  {failure.name}: {failure.reason}')
    if len(each.failures) > _MAX_FAILURES_SHOWN:
      print(f'  ... all in {manifest.manifest_path(_OUTPUT_DIR.value, split)}')


def _duration(seconds: float) -> str:
  """Returns a duration for people, such as 1:02:03."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}'


if __name__ == '__main__':
  app.run(main)
