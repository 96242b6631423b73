"""The demo data sets: handwritten digits that scikit-learn brings along.

1,797 grey images of 8 x 8 pixels, the test half of UCI's "Optical Recognition
of Handwritten Digits". They are enlarged to 64 x 64, stored as JPEG in the
ImageNet schema, and so take the way that ImageNet takes, without a download.

The demo of transfer has scenes of several digits, and few digits with labels:
what JFT and ImageNet are to each other, in small. The digits of the train split
are dealt out once, so that no image serves twice:

    scenes of the pre-training    several digits on a canvas, labels of each
    scenes of its evaluation      the same, of other digits
    few digits with labels        a digit an image, ten images a class

Fine-tuning is evaluated on the validation split of the digits, or, to choose
settings, on the digits that the second kind of scenes is made of: split 'dev'.
"""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from PIL import Image

from official_coatnet import extras, files
from official_coatnet.data import manifest as manifest_lib, schema
from official_coatnet.records import corpus, writing

CLASS_NAMES = tuple('0123456789')
NUM_TRAIN = 1347
NUM_VALIDATION = 450
IMAGE_SIZE = 64
NUM_SAMPLE_IMAGES = 12

# Scenes of each list.
NUM_SCENES = {'train': 8192, 'validation': 512}
LABELLED_A_CLASS = 10
NUM_HELD_OUT = 247
SCENE_SIZE = 64

_SEED = 0
# Digits of a scene, and the sides they are enlarged to; highest excluded.
_DIGITS = (1, 4)
_SIDES = (28, 49)


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
  datasets = extras.load(
    'sklearn.datasets', extra='demo', purpose="The demo's set of digits"
  )
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
  overwrite: bool = False,
) -> dict[str, manifest_lib.Manifest]:
  """Writes both splits as records, and some test images as files.

  Args:
    output_dir: folder to write to. The test images go to `images` in it, under
      names such as `validation_0037_digit_4.jpg`: index and true digit.
    num_train_shards: files of the train split.
    num_validation_shards: files of the validation split.
    progress: called after each example.
    overwrite: whether to replace what another build has left there.

  Returns:
    The manifest of each split, by name. A split that is there and complete is
    left as it is.

  Raises:
    ValueError: if the folder holds something else, not to be overwritten.
  """
  shards = {'train': num_train_shards, 'validation': num_validation_shards}
  manifests = corpus.write_corpus(
    [
      make_split(load_split(split), split=split, num_shards=num_shards)
      for split, num_shards in shards.items()
    ],
    output_dir,
    progress=progress,
    overwrite=overwrite,
  )
  _write_sample_images(os.path.join(output_dir, 'images'))
  return manifests


def make_split(
  digits_of_split: tuple[np.ndarray, np.ndarray], *, split: str, num_shards: int
) -> corpus.Split:
  """Returns what a split of some of the digits is made of.

  Args:
    digits_of_split: images and digits, as `load_split` returns them.
    split: what to call the split.
    num_shards: number of files.
  """
  images, digits = digits_of_split
  checksum = hashlib.sha256(images.tobytes() + digits.tobytes()).hexdigest()

  def make_records(examples: range) -> Iterator[writing.Record]:
    for index in examples:
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

  return corpus.Split(
    name=split,
    schema='imagenet',
    num_classes=len(CLASS_NAMES),
    num_examples=len(images),
    select=make_records,
    fingerprint=f'digits {checksum}, {IMAGE_SIZE} pixels, {num_shards} files',
    holds_num_shards=True,
    label_offset=-1,
    class_names=CLASS_NAMES,
    num_shards=num_shards,
  )


def _write_sample_images(folder: str) -> None:
  images, digits = load_split('validation')
  for index in range(0, NUM_VALIDATION, NUM_VALIDATION // NUM_SAMPLE_IMAGES)[
    :NUM_SAMPLE_IMAGES
  ]:
    name = f'validation_{index:04d}_digit_{digits[index]}.jpg'
    files.write_bytes(os.path.join(folder, name), encode_digit(images[index]))


@dataclasses.dataclass(frozen=True)
class Pools:
  """Digits of the train split by use: indices, int64 [n], all different.

  Attributes:
    scenes: for the scenes of pre-training.
    held_out: for the scenes of its evaluation, and for choosing settings.
    labelled: for fine-tuning.
  """

  scenes: np.ndarray
  held_out: np.ndarray
  labelled: np.ndarray


def deal() -> Pools:
  """Deals the digits of the train split out, at random but always the same."""
  _, digits = load_split('train')
  order = corpus.shuffled(len(digits), seed=_SEED)
  labelled = np.concatenate(
    [
      order[digits[order] == digit][:LABELLED_A_CLASS]
      for digit in range(len(CLASS_NAMES))
    ]
  )
  others = order[~np.isin(order, labelled)]
  return Pools(
    scenes=others[NUM_HELD_OUT:],
    held_out=others[:NUM_HELD_OUT],
    labelled=labelled,
  )


def compose(
  images: np.ndarray, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
  """Puts digits on a canvas, of random sizes and in random places.

  A quarter of a digit may lie beyond the edge, and digits may overlap: of two,
  the brighter ink is seen.

  Args:
    images: digits, uint8 [n, 8, 8].
    rng: where sizes and places come from.

  Returns:
    The scene, uint8 [64, 64], and of each digit the share of its ink that is to
    be seen, float64 [n].
  """
  layers = np.zeros((len(images), SCENE_SIZE, SCENE_SIZE), np.uint8)
  ink = np.zeros(len(images))
  for layer, (i, image) in zip(layers, enumerate(images)):
    side = rng.randint(*_SIDES)
    beyond = side // 4
    patch = np.asarray(
      Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    )
    ink[i] = patch.sum()
    top, left = rng.randint(-beyond, SCENE_SIZE - side + beyond + 1, 2)
    # On a canvas with a margin on all sides, which is then cut off.
    wide = np.zeros((SCENE_SIZE + 2 * beyond,) * 2, np.uint8)
    rows = slice(top + beyond, top + beyond + side)
    wide[rows, left + beyond : left + beyond + side] = patch
    inner = slice(beyond, beyond + SCENE_SIZE)
    layer[:] = wide[inner, inner]
  scene = layers.max(axis=0)
  seen = np.where(layers == scene, layers, 0).sum(axis=(1, 2))
  return scene, seen / ink


def write_transfer(
  output_dir: str,
  *,
  progress: writing.Progress | None = None,
  overwrite: bool = False,
) -> dict[str, manifest_lib.Manifest]:
  """Writes the scenes as images with lists, and the digits as records.

  Args:
    output_dir: folder to write to. `scenes` in it gets the scenes of both
      lists, as JPEG; `train.jsonl` and `validation.jsonl` are the lists, with
      rows such as those of COYO-Labeled: `id`, `labels`, and as `label_probs`
      the shares of `compose`. `digits` gets records in the ImageNet schema, of
      splits 'train', 'dev' and 'validation'.
    progress: called after each scene, and after each digit.
    overwrite: whether to replace what another build has left in `digits`.

  Returns:
    The manifests of the digits, by split.

  Raises:
    ValueError: as in `write_digits`.
  """
  pools = deal()
  for name, pool in (('train', pools.scenes), ('validation', pools.held_out)):
    _write_scenes(output_dir, name=name, pool=pool, progress=progress)
  images, digits = load_split('train')
  folder = os.path.join(output_dir, 'digits')
  parts = {
    'train': (images[pools.labelled], digits[pools.labelled]),
    'dev': (images[pools.held_out], digits[pools.held_out]),
    'validation': load_split('validation'),
  }
  return corpus.write_corpus(
    [
      make_split(part, split=split, num_shards=2)
      for split, part in parts.items()
    ],
    folder,
    progress=progress,
    overwrite=overwrite,
  )


def _write_scenes(
  output_dir: str,
  *,
  name: str,
  pool: np.ndarray,
  progress: writing.Progress | None,
) -> None:
  images, digits = load_split('train')
  images, digits = images[pool], digits[pool]
  rng = np.random.RandomState(_SEED)
  folder = os.path.join(output_dir, 'scenes')
  files.make_folder(folder)
  rows = []
  for number in range(NUM_SCENES[name]):
    labels = rng.permutation(len(CLASS_NAMES))
    labels = labels[: rng.randint(*_DIGITS)]
    chosen = [rng.choice(np.flatnonzero(digits == label)) for label in labels]
    scene, seen = compose(images[chosen], rng)
    row = {
      'id': f'{name}_{number:05d}',
      'labels': labels.tolist(),
      'label_probs': [round(float(each), 3) for each in seen],
      # Not read by the builder of records: which digits these are.
      'digits': pool[chosen].tolist(),
    }
    path = os.path.join(folder, f'{row["id"]}.jpg')
    # Not by `files`, which waits for the disk: the list vouches for them all.
    with tf.io.gfile.GFile(path, 'wb') as file:
      file.write(encode_jpeg(Image.fromarray(scene)))
    rows.append(f'{json.dumps(row)}\n')
    if progress:
      progress(number + 1, NUM_SCENES[name])
  # Last: a list names images that are there.
  files.write_text(os.path.join(output_dir, f'{name}.jsonl'), ''.join(rows))
