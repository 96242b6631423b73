"""Runs an experiment of Model Garden, ours among them, with its own trainer.

    python tools/model_garden_train.py --experiment=coatnet_retinanet_coco \
        --mode=train_and_eval --model_dir=gs://my-bucket/run \
        --params_override=overrides.yaml

Flags and main are those of Model Garden's official/vision/train.py; this file
registers `coatnet` and its experiments, which docs/model_garden.md describes.
"""

import tools.prologue

import difflib
import re

import tensorflow as tf
import yaml
from absl import app, flags
from official.common import flags as tfm_flags
from official.core import exp_factory, train_utils
from official.vision import train

from official_coatnet import files

# Imported for what it registers.
from official_coatnet.model_garden import experiments  # noqa: F401
from tools import path_flags


def main(argv):
  """Runs Model Garden's main, with a folder as our own tools take it.

  Raises:
    ValueError: If an experiment, a file or a parameter is not there.
  """
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  (flags.FLAGS.model_dir,) = path_flags.expand([flags.FLAGS.model_dir])
  files.check_no_pattern(flags.FLAGS.model_dir, name='--model_dir')
  files.make_folder(flags.FLAGS.model_dir)
  _check_configuration()
  train.main(argv)


def _check_configuration():
  """Has the configuration read as `train.main` does, for its errors."""
  name = flags.FLAGS.experiment
  known = list(exp_factory._REGISTERED_CONFIGS)
  if name not in known:
    near = difflib.get_close_matches(name, known, n=1)
    words = f' Did you mean {near[0]!r}?' if near else ''
    raise ValueError(
      f'--experiment is {name!r}, which neither Model Garden nor this package '
      f'has.{words} docs/model_garden.md lists ours.'
    )
  try:
    train_utils.ExperimentParser(flags.FLAGS).parse()
  except yaml.YAMLError as error:
    raise ValueError(
      f'--config_file or --params_override is no YAML: {error}'
    ) from error
  except KeyError as error:
    found = re.search(r"key '(.*?)' does not exist in .*?(\w+)'>", str(error))
    what = ' in '.join(found.groups()) if found else str(error)
    raise ValueError(
      '--config_file or --params_override sets what the experiment does not '
      f'have: {what}. A run prints its experiment when it starts.'
    ) from error
  except tf.errors.OpError as error:
    raise ValueError(
      f'--config_file or --params_override cannot be read: {error.message}. '
      'Give a file of YAML, or name=value with commas between several.'
    ) from error


if __name__ == '__main__':
  tfm_flags.define_flags()
  flags.mark_flags_as_required(['experiment', 'mode', 'model_dir'])
  tools.prologue.run(main)
