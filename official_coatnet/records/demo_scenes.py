"""The demo of transfer: scenes of several digits, and few digits with labels.

What JFT and ImageNet are to each other, in small, from the handwritten digits
of `demo_digits`. The digits of its train split are dealt out once, so that no
image serves twice:

    scenes of the pre-training    several digits on a canvas, labels of each
    scenes of its evaluation      the same, of other digits
    few digits with labels        a digit an image, ten images a class

Fine-tuning is evaluated on the validation split of `demo_digits`, or, to choose
settings, on the digits that the second kind of scenes is made of: split 'dev'.
"""

import dataclasses
import json
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from official_coatnet.data import manifest as manifest_lib
from official_coatnet.records import corpus, demo_digits, writing

# Scenes of each list.
NUM_SCENES = {'train': 8192, 'validation': 512}
LABELLED_A_CLASS = 10
NUM_HELD_OUT = 247
SCENE_SIZE = 64

_SEED = 0
# Digits of a scene, and the sides they are enlarged to; highest excluded.
_DIGITS = (1, 4)
_SIDES = (28, 49)


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
  _, digits = demo_digits.load_split('train')
  order = corpus.shuffled(len(digits), seed=_SEED)
  labelled = np.concatenate(
    [
      order[digits[order] == digit][:LABELLED_A_CLASS]
      for digit in range(len(demo_digits.CLASS_NAMES))
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
  output_dir: str, *, progress: writing.Progress | None = None
) -> dict[str, manifest_lib.Manifest]:
  """Writes the scenes as images with lists, and the digits as records.

  Args:
    output_dir: folder to write to. `scenes` in it gets the scenes of both
      lists, as JPEG; `train.jsonl` and `validation.jsonl` are the lists, with
      rows such as those of COYO-Labeled: `id`, `labels`, and as `label_probs`
      the shares of `compose`. `digits` gets records in the ImageNet schema, of
      splits 'train', 'dev' and 'validation'.
    progress: called after each scene, and after each digit.

  Returns:
    The manifests of the digits, by split.
  """
  pools = deal()
  for name, pool in (('train', pools.scenes), ('validation', pools.held_out)):
    _write_scenes(output_dir, name=name, pool=pool, progress=progress)
  images, digits = demo_digits.load_split('train')
  folder = os.path.join(output_dir, 'digits')
  parts = {
    'train': (images[pools.labelled], digits[pools.labelled]),
    'dev': (images[pools.held_out], digits[pools.held_out]),
    'validation': demo_digits.load_split('validation'),
  }
  return {
    split: demo_digits.write_records(
      part, folder, split=split, num_shards=2, progress=progress
    )
    for split, part in parts.items()
  }


def _write_scenes(
  output_dir: str,
  *,
  name: str,
  pool: np.ndarray,
  progress: writing.Progress | None,
) -> None:
  images, digits = demo_digits.load_split('train')
  images, digits = images[pool], digits[pool]
  rng = np.random.RandomState(_SEED)
  folder = os.path.join(output_dir, 'scenes')
  tf.io.gfile.makedirs(folder)
  rows = []
  for number in range(NUM_SCENES[name]):
    labels = rng.permutation(len(demo_digits.CLASS_NAMES))
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
    with tf.io.gfile.GFile(path, 'wb') as file:
      file.write(demo_digits.encode_jpeg(Image.fromarray(scene)))
    rows.append(f'{json.dumps(row)}\n')
    if progress:
      progress(number + 1, NUM_SCENES[name])
  # Last: a list names images that are there.
  with tf.io.gfile.GFile(
    os.path.join(output_dir, f'{name}.jsonl'), 'w'
  ) as file:
    file.write(''.join(rows))
