"""Runs an experiment of Model Garden, ours among them, with its own trainer.

    python tools/model_garden_train.py --experiment=coatnet_retinanet_coco \
        --mode=train_and_eval --model_dir=gs://my-bucket/run \
        --params_override=overrides.yaml

Flags and main are those of Model Garden's official/vision/train.py; this file
registers `coatnet` and its experiments, which docs/model_garden.md describes.
"""

import tools.prologue

from absl import flags
from official.common import flags as tfm_flags
from official.vision import train

from official_coatnet import files

# Imported for what it registers.
from official_coatnet.model_garden import experiments  # noqa: F401
from tools import path_flags


def main(argv):
  """Runs Model Garden's main, with a folder as our own tools take it."""
  (flags.FLAGS.model_dir,) = path_flags.expand([flags.FLAGS.model_dir])
  files.check_no_pattern(flags.FLAGS.model_dir, name='--model_dir')
  train.main(argv)


if __name__ == '__main__':
  tfm_flags.define_flags()
  flags.mark_flags_as_required(['experiment', 'mode', 'model_dir'])
  tools.prologue.run(main)
