"""Runs an experiment of Model Garden, ours among them, with its own trainer.

    python tools/model_garden_train.py --experiment=coatnet_retinanet_coco \
        --mode=train_and_eval --model_dir=gs://my-bucket/run \
        --params_override=overrides.yaml

Flags and main are those of Model Garden's official/vision/train.py; this file
registers `coatnet` and its experiments, which docs/model_garden.md describes.
"""

import os
import sys

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

# So that the tool runs from a clone, from any folder, without installation.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from absl import app, flags  # noqa: E402
from official.common import flags as tfm_flags  # noqa: E402
from official.vision import train  # noqa: E402

# Imported for what it registers.
from official_coatnet.model_garden import experiments  # noqa: E402, F401

if __name__ == '__main__':
  tfm_flags.define_flags()
  flags.mark_flags_as_required(['experiment', 'mode', 'model_dir'])
  app.run(train.main)
