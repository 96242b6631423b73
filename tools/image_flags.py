"""How tfrecords.py, predict.py and query.py read image files, by flags.

Nothing here imports TensorFlow, nor the library before it is asked to: what
sends images as they are does without.
"""

import json
import os

from absl import flags

EXIF_ORIENTATION = flags.DEFINE_bool(
  'exif_orientation',
  None,
  'Turn images as their EXIF data say, as viewers do. If not set: tfrecords.py '
  'does so for folder, and not for corpora whose published results are of '
  'images that nobody has turned; predict.py and query.py do as was done with '
  'the images of the training, by what --saved_model says, or else nothing.',
)
_VALUE_RANGE = flags.DEFINE_string(
  'value_range',
  None,
  'Values of black and white, such as 0,1, of images whose pixels do not say '
  'them: float, 32-bit or with a sign. If not set, those are refused.',
)


def value_range() -> tuple[float, float] | None:
  """Returns --value_range.

  Raises:
    ValueError: If it is none.
  """
  from official_coatnet.data import image_files

  return image_files.parse_range(_VALUE_RANGE.value, name='--value_range')


def exif_orientation(saved_model: str | None) -> bool:
  """Returns --exif_orientation, or what an export says of its training.

  Args:
    saved_model: The export or the folder of its versions, of which the latest
      is taken, on this machine; None if it is not here. (The library's own
      reader of exports would import TensorFlow.)

  Raises:
    ValueError: If there is no such folder, or what it says cannot be read.
  """
  from official_coatnet.data import image_files

  if EXIF_ORIENTATION.value is not None or saved_model is None:
    return bool(EXIF_ORIENTATION.value)
  if not os.path.isdir(saved_model):
    raise ValueError(
      f'--saved_model={saved_model}: there is no such folder here; name the '
      'export, or say --exif_orientation or --noexif_orientation yourself.'
    )
  versions = [name for name in os.listdir(saved_model) if name.isdecimal()]
  newest = max(versions, key=int, default='')
  path = os.path.join(saved_model, newest, image_files.DATA_FILE)
  if not os.path.exists(path):
    return False
  with open(path, encoding='utf-8') as f:
    return image_files.trained_with_exif(json.load(f))
