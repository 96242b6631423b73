"""How fast the input pipeline is on one core, against alternatives.

    python tools/benchmark/input.py --images_per_second=2000

makes JPEG files like photographs, reads them in each way in turn, and prints
images a second and core, and the ratios to the alternative of the same run:

*   training: the plain training path (decode, crop, resize, flip), against
    Model Garden's classification parser, and against nothing but a fused
    decode-and-crop and a resize.
*   RandAugment(2, 15), against Model Garden's.
*   parsing several labels an image, against one, as a share of `training`.
*   TFDS, against TFRecord.

With --images_per_second, what the model takes in on all its devices, it says
how many cores of a host it needs. Times are CPU seconds of one thread: images
a second of a core that does nothing else.
"""

import tools.prologue

import tempfile

import tensorflow as tf
from absl import app, flags, logging

from tools.benchmark import input_variants, timing

_IMAGES_PER_SECOND = flags.DEFINE_float(
  'images_per_second',
  None,
  'What the model needs, over all its devices.',
  lower_bound=0.0,
)
_ROUNDS = flags.DEFINE_integer(
  'rounds', 9, 'Rounds in which the variants take turns.', lower_bound=1
)
_QUALITY = flags.DEFINE_integer(
  'quality',
  95,
  'JPEG quality of the images: 95 makes files of 95 kB (those of ImageNet have '
  '110), 90 of 65.',
  lower_bound=1,
  upper_bound=100,
)
_QUICK = flags.DEFINE_bool(
  'quick', False, 'One round of a few images, to see that it runs.'
)

# Variant, what it is compared with, and the ratio to reach.
_TARGETS = (
  ('training', 'Model Garden parser', 1.6),
  ('training', 'bare decode, crop, resize', 0.85),
  ('RandAugment(2, 15)', 'Model Garden RandAugment(2, 15)', 3.0),
  ('TFDS', 'training', 0.85),
)
_MAX_LABEL_SHARE = 0.02


def cores_needed(images_per_second: float, rate: float) -> int:
  """Cores that feed a model, each of which prepares `rate` images a second."""
  return int(-(-images_per_second // rate))


def main(argv):
  """Runs the benchmark."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)  # TFDS tells all it does.
  tf.config.threading.set_inter_op_parallelism_threads(1)
  tf.config.threading.set_intra_op_parallelism_threads(1)
  rounds = 1 if _QUICK.value else _ROUNDS.value
  with tempfile.TemporaryDirectory() as folder:
    variants = input_variants.make_variants(
      folder,
      num_images=16 if _QUICK.value else 64,
      images_a_round=16 if _QUICK.value else 256,
      quality=_QUALITY.value,
    )
    comparison = timing.compare(
      variants, rounds=rounds, clock=timing.idle_cpu_seconds
    )
  print('images a second and core')
  for name in variants:
    print(f'{name:34s} {comparison.rate(name):8.0f}')
  print('\nratios')
  for name, other, target in _TARGETS:
    ratio = comparison.ratio(name, to=other)
    verdict = '' if ratio >= target else '  BELOW'
    print(f'{name} / {other}: {ratio:.2f}  (at least {target}){verdict}')
  extra = comparison.extra(
    'several labels', over='one label', share_of='training'
  )
  verdict = '' if extra <= _MAX_LABEL_SHARE else '  ABOVE'
  print(
    f'several labels cost {extra:.1%} of training more than one '
    f'(at most {_MAX_LABEL_SHARE:.0%}){verdict}'
  )
  if _IMAGES_PER_SECOND.value:
    print(f'\ncores of the hosts for {_IMAGES_PER_SECOND.value:g} images/s:')
    for name in ('training', 'training, RandAugment(2, 15)'):
      cores = cores_needed(_IMAGES_PER_SECOND.value, comparison.rate(name))
      print(f'{name:34s} {cores:8d}')


if __name__ == '__main__':
  tools.prologue.run(main)
