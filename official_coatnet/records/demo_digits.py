"""The demo data set: handwritten digits that scikit-learn brings along.

1,797 grey images of 8 x 8 pixels, the test half of UCI's "Optical Recognition
of Handwritten Digits". They are enlarged to 64 x 64, stored as JPEG in the
ImageNet schema, and so take the way that ImageNet takes, without a download.
"""

import hashlib
import io
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from PIL import Image

from official_coatnet.data import manifest as manifest_lib, schema
from official_coatnet.records import writing

CLASS_NAMES = tuple('0123456789')
NUM_TRAIN = 1347
NUM_VALIDATION = 450
IMAGE_SIZE = 64
NUM_SAMPLE_IMAGES = 12


def load_split(split: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns the digits of a split, in the order of the data set.

  Args:
    split: 'train' for the first 1,347 images, 'validation' for the other 450.

  Returns:
    Images, uint8 [n, 8, 8], with the ink bright, and digits, int64 [n].

  Raises:
    ImportError: if scikit-learn is not installed.
    ValueError: if there is no such split.
  """
  try:
    from sklearn import datasets  # Only the demo needs it.
  except ImportError as error:
    raise ImportError(
      'The digits of the demo come with scikit-learn, which is not installed; '
      'run: pip install official_coatnet[demo]'
    ) from error
  if split not in ('train', 'validation'):
    raise ValueError(
      f"split is {split!r}, but the digits have 'train' and 'validation' only."
    )
  digits = datasets.load_digits()
  part = slice(NUM_TRAIN) if split == 'train' else slice(NUM_TRAIN, None)
  # Intensities are 0..16.
  images = np.round(digits.images[part] * (255 / 16)).astype(np.uint8)
  return images, digits.target[part].astype(np.int64)


def encode_digit(image: np.ndarray) -> bytes:
  """Enlarges a digit, uint8 [8, 8], to an RGB JPEG of 64 x 64 pixels."""
  return encode_jpeg(
    Image.fromarray(image).resize(
      (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC
    )
  )


def encode_jpeg(image: Image.Image) -> bytes:
  """Encodes a grey image as an RGB JPEG."""
  buffer = io.BytesIO()
  image.convert('RGB').save(buffer, 'JPEG', quality=95)
  return buffer.getvalue()


def write_digits(
  output_dir: str,
  *,
  num_train_shards: int = 8,
  num_validation_shards: int = 2,
  progress: writing.Progress | None = None,
) -> dict[str, manifest_lib.Manifest]:
  """Writes both splits as records, and some test images as files.

  Args:
    output_dir: folder to write to. The test images go to `images` in it, under
      names such as `validation_0037_digit_4.jpg`: index and true digit.
    num_train_shards: files of the train split.
    num_validation_shards: files of the validation split.
    progress: called after each example.

  Returns:
    The manifest of each split, by name. A split that is there and complete is
    left as it is.
  """
  manifests = {
    split: write_records(
      load_split(split),
      output_dir,
      split=split,
      num_shards=num_shards,
      progress=progress,
    )
    for split, num_shards in (
      ('train', num_train_shards),
      ('validation', num_validation_shards),
    )
  }
  _write_sample_images(os.path.join(output_dir, 'images'))
  return manifests


def write_records(
  digits_of_split: tuple[np.ndarray, np.ndarray],
  output_dir: str,
  *,
  split: str,
  num_shards: int,
  progress: writing.Progress | None = None,
) -> manifest_lib.Manifest:
  """Writes some of the digits as a split of records.

  Args:
    digits_of_split: images and digits, as `load_split` returns them.
    output_dir: folder to write to.
    split: what to call the split.
    num_shards: number of files.
    progress: called after each example.

  Returns:
    The manifest. A split that is there and complete is left as it is.
  """
  images, digits = digits_of_split
  checksum = hashlib.sha256(images.tobytes() + digits.tobytes()).hexdigest()
  fingerprint = f'digits {checksum}, {IMAGE_SIZE} pixels, {num_shards} files'
  if manifest_lib.is_complete(output_dir, split, fingerprint=fingerprint):
    return manifest_lib.read_manifest(output_dir, split)

  def make_shard(shard: int) -> Iterator[writing.Record]:
    for index in writing.shard_range(
      shard, num_shards, num_examples=len(images)
    ):
      label = int(digits[index]) + 1
      yield writing.Record(
        schema.serialize_imagenet(
          encode_digit(images[index]),
          label=label,
          height=IMAGE_SIZE,
          width=IMAGE_SIZE,
          filename=f'{split}_{index:04d}.jpg',
          text=CLASS_NAMES[digits[index]],
        ),
        labels=[label],
      )

  return writing.write_split(
    make_shard,
    output_dir,
    split=split,
    num_shards=num_shards,
    schema='imagenet',
    num_classes=len(CLASS_NAMES),
    label_offset=-1,
    class_names=CLASS_NAMES,
    num_examples=len(images),
    fingerprint=fingerprint,
    progress=progress,
  )


def _write_sample_images(folder: str) -> None:
  images, digits = load_split('validation')
  tf.io.gfile.makedirs(folder)
  for index in range(0, NUM_VALIDATION, NUM_VALIDATION // NUM_SAMPLE_IMAGES)[
    :NUM_SAMPLE_IMAGES
  ]:
    name = f'validation_{index:04d}_digit_{digits[index]}.jpg'
    with tf.io.gfile.GFile(os.path.join(folder, name), 'wb') as file:
      file.write(encode_digit(images[index]))
