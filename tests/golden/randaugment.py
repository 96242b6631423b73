"""What Model Garden 2.15 makes of small images, byte for byte.

    python -m tests.golden.randaugment --write

writes randaugment.npz beside this file, with TensorFlow 2.15, Model Garden 2.15
and TensorFlow Addons, and with nothing else: later ones have another contrast,
or are not there. The operations are Model Garden's own; with grey beyond the
image, TensorFlow Addons moves it, as in the code that Google published with its
papers. Our own is `RandAugment` as a whole alone, since nobody else draws as it
does.

An array of the file is called by operation and image, or by what it holds:

*   `image/<image>`: uint8 [height, width, 3].
*   `<operation>/<image>`: uint8 [magnitude, sign, height, width, 3], of
    `magnitudes` and of 1 and -1; one sign where there is no direction.
*   `grey/<operation>/noise`: likewise, with grey from beyond the image.
*   `Cutout/noise`: uint8 [centre and half side, height, width, 3], of
    `CUTOUTS`.
*   `contrast/<height>x<width>`: uint8 [magnitude, 256], what becomes of each
    byte in an image of that size.
*   `randaugment/<layers>,<magnitude>,<fill>`: uint8 [seed, height, width, 3].
"""

import os
import sys

import numpy as np
import tensorflow as tf

from official_coatnet.data import augment

FILE = os.path.join(
  os.path.dirname(os.path.abspath(__file__)), 'randaugment.npz'
)
HEIGHT, WIDTH = 20, 26
# The recipes' 5, 15 and 20; beyond 22.5 posterize starts anew.
MAGNITUDES = (2, 5, 9, 10, 15, 20, 26)
PLAIN = ('AutoContrast', 'Equalize', 'Invert')
GEOMETRIC = {
  # Argument at magnitude 10.
  'Rotate': 30.0,
  'ShearX': 0.3,
  'ShearY': 0.3,
  'TranslateX': 100.0,
  'TranslateY': 100.0,
}
VALUES = (
  'Posterize',
  'Solarize',
  'SolarizeAdd',
  'Color',
  'Contrast',
  'Brightness',
  'Sharpness',
)
# Row, column and half the side.
CUTOUTS = ((0, 0, 3), (10, 13, 0), (10, 13, 5), (19, 1, 8), (6, 25, 60))
# Contrast goes by the number of pixels: grey 2, 196 and 255.
CONTRAST_SIZES = ((20, 26), (224, 224), (256, 260))
RANDAUGMENTS = ((2, 15, 'reflect'), (2, 5, 'grey'), (3, 10, 'reflect'))
SEEDS = 48


def images() -> dict[str, np.ndarray]:
  """Returns noise, a narrow range and few values, uint8 each."""
  rng = np.random.default_rng(15)
  shape = (HEIGHT, WIDTH, 3)
  ramp = np.linspace(40, 200, HEIGHT)[:, None, None] * [1.0, 0.9, 1.2]
  return {
    'noise': rng.integers(0, 256, shape, np.uint8),
    'ramp': np.clip(ramp + rng.normal(0, 12, shape), 0, 255).astype(np.uint8),
    'few': rng.choice(np.array([3, 77, 78, 250], np.uint8), shape),
  }


def every_byte(height: int, width: int) -> np.ndarray:
  """Returns a grey uint8 image, all bytes first and then again."""
  values = np.arange(height * width).astype(np.uint8)
  return np.repeat(values.reshape(height, width, 1), 3, axis=-1)


def randaugmented(
  layers: int, magnitude: int, fill: str, *, image: np.ndarray
) -> np.ndarray:
  """Returns ours of all seeds, uint8 [seed, height, width, 3]."""
  ours = augment.RandAugment(layers, magnitude, fill=fill)
  dataset = tf.data.Dataset.range(SEEDS).map(
    lambda seed: ours(tf.constant(image), seed=tf.stack([seed, 15 + seed]))
  )
  return next(dataset.batch(SEEDS).as_numpy_iterator())


def _model_garden() -> dict[str, np.ndarray]:
  """Returns all that Model Garden has to say."""
  from official.vision.ops import augment as reference

  arguments = reference.level_to_arg(40.0, 100.0)

  def apply(operation: str, image: np.ndarray, magnitude: float, sign: int):
    function = reference.NAME_TO_FUNC[operation]
    if operation in GEOMETRIC:
      argument = sign * magnitude / 10 * GEOMETRIC[operation]
      return function(image, tf.constant(argument), [128] * 3).numpy()
    if operation in PLAIN:
      return function(image).numpy()
    return function(image, *arguments[operation](float(magnitude))).numpy()

  found = {}
  for operation in (*PLAIN, *VALUES, *GEOMETRIC):
    signs = (1, -1) if operation in GEOMETRIC else (1,)
    magnitudes = MAGNITUDES[:1] if operation in PLAIN else MAGNITUDES
    for name, image in images().items():
      if operation in GEOMETRIC and name != 'noise':
        continue  # It is the same map of any pixels.
      found[f'{operation}/{name}'] = np.stack(
        [
          [apply(operation, tf.constant(image), m, sign) for sign in signs]
          for m in magnitudes
        ]
      )
  noise = tf.constant(images()['noise'])
  found['Cutout/noise'] = np.stack(
    [
      reference._fill_rectangle(noise, column, row, half, half, [128] * 3)
      for row, column, half in CUTOUTS
    ]
  )
  for height, width in CONTRAST_SIZES:
    image = tf.constant(every_byte(height, width))
    found[f'contrast/{height}x{width}'] = np.stack(
      [apply('Contrast', image, m, 1)[..., 0].flat[:256] for m in MAGNITUDES]
    )
  return found


def _grey() -> dict[str, np.ndarray]:
  """Returns what the code of Google's papers makes of geometric operations.

  A fourth channel tells apart what comes from beyond the image.
  """
  import tensorflow_addons as tfa

  noise = tf.constant(images()['noise'])
  wrapped = tf.concat([noise, tf.ones([HEIGHT, WIDTH, 1], tf.uint8)], -1)

  def move(operation: str, argument: float) -> np.ndarray:
    if operation == 'Rotate':
      moved = tfa.image.rotate(wrapped, tf.constant(argument) * (np.pi / 180))
    elif operation.startswith('Translate'):
      along_x = operation == 'TranslateX'
      shift = [-argument, 0.0] if along_x else [0.0, -argument]
      moved = tfa.image.translate(wrapped, shift)
    else:
      a, b = (argument, 0.0) if operation == 'ShearX' else (0.0, argument)
      moved = tfa.image.transform(wrapped, [1.0, a, 0.0, b, 1.0, 0.0, 0.0, 0.0])
    grey = tf.constant(128, tf.uint8)
    return tf.where(moved[..., 3:] == 0, grey, moved)[..., :3].numpy()

  return {
    f'grey/{operation}/noise': np.stack(
      [
        [move(operation, s * m / 10 * most) for s in (1, -1)]
        for m in MAGNITUDES
      ]
    )
    for operation, most in GEOMETRIC.items()
  }


def _write() -> None:
  whole = {
    f'randaugment/{layers},{magnitude},{fill}': randaugmented(
      layers, magnitude, fill, image=images()['noise']
    )
    for layers, magnitude, fill in RANDAUGMENTS
  }
  pictures = {f'image/{name}': image for name, image in images().items()}
  np.savez_compressed(FILE, **pictures, **_model_garden(), **_grey(), **whole)


if __name__ == '__main__':
  if sys.argv[1:] != ['--write']:
    sys.exit('usage: python -m tests.golden.randaugment --write')
  if not tf.__version__.startswith('2.15.'):
    sys.exit(
      f'TensorFlow is {tf.__version__}, but these are the pixels of Model '
      'Garden 2.15: run it with TensorFlow 2.15.'
    )
  _write()
