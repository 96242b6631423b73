"""Our networks in timm, as their exported settings make it build them.

    python -m tests.golden.exported --write    # the numbers, once

Of small networks, exported.json holds what timm makes of the settings that
`timm_settings` gives for them: names and shapes of all weights, and samples of
logits and stage outputs of weights drawn by those names. `python -m
tests.golden.published` exports larger ones and has timm load their folders.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet.export import serving
from official_coatnet.modeling import config as config_lib, network
from official_coatnet.pretrained import (
  conversion,
  publishing,
  timm,
  timm_settings,
)
from official_coatnet.training import checkpoints
from tests.fixtures import experiments, runs
from tests.golden import peers, published_weights

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'exported.json')

_SMALL = {
  'blocks': (2, 1, 1, 2, 1),
  'widths': (16, 16, 24, 32, 48),
  'head_size': 8,
  'image_size': (64, 96),
  'num_classes': 5,
}
_ROWS = tuple(
  f'timm_coatnet_{name}'
  for name in (
    'nano_rw',
    'rmlp_nano_rw',
    '0_rw',
    '1_rw',
    'bn_0_rw',
    '2_rw',
    '3_rw',
    'rmlp_1_rw',
    'rmlp_1_rw2',
    'rmlp_2_rw',
    '0',
  )
)
# Arguments of a `ModelConfig`, by a name.
SMALL: Mapping[str, dict[str, Any]] = {
  'coatnet_test': {'name': 'coatnet_test', 'image_size': 64, 'num_classes': 5},
  'depthwise': {'name': 'coatnet_1', **_SMALL, 'downsample': 'depthwise'},
  'average pooling, other rates': {
    'name': 'coatnet_1',
    **_SMALL,
    'shortcut_pool': 'avg',
    'expansion': 2,
    'se_ratio': 0.5,
    'batch_norm_epsilon': 1e-2,
    'representation_size': 20,
  },
  'C-T-T-T': {'name': 'coatnet_1', **_SMALL, 'layout': 'C-T-T-T'},
  'C-C-C-C': {'name': 'coatnet_1', **_SMALL, 'layout': 'C-C-C-C'},
  **{name: {'name': name, **_SMALL} for name in _ROWS},
}
_FEW = (2, 1, 1, 2, 1)
LARGE: Mapping[str, dict[str, Any]] = {
  'coatnet_0': {'name': 'coatnet_0'},
  'coatnet_0, depthwise': {
    'name': 'coatnet_0',
    'downsample': 'depthwise',
    'image_size': (160, 192),
  },
  'coatnet_5, few blocks': {
    'name': 'coatnet_5',
    'blocks': _FEW,
    'image_size': 128,
  },
  **{
    f'{name}, few blocks': {'name': name, 'blocks': _FEW, 'image_size': 128}
    for name in _ROWS
  },
}


def read() -> dict[str, dict[str, Any]]:
  """Returns exported.json: for each of `SMALL`, what timm makes of it."""
  with open(FILE, encoding='utf-8') as f:
    return json.load(f)


def load(
  name: str, shapes: Mapping[str, list[int]]
) -> tuple[tf.keras.Model, config_lib.ModelConfig]:
  """Builds one of `SMALL`, with weights drawn by timm's names."""
  config = config_lib.ModelConfig(**SMALL[name])
  model = network.classifier(config)
  state = {
    key: published_weights.draw(key, tuple(shape))
    for key, shape in shapes.items()
  }
  variables = checkpoints.named_weights(model)
  weights, _ = conversion.to_ours(
    state,
    {key: tuple(each.shape) for key, each in variables.items()},
    lines=timm.lines(config),
  )
  for key, variable in variables.items():
    variable.assign(weights[key])
  return model, config


def differences(
  model: tf.keras.Model,
  config: config_lib.ModelConfig,
  samples: Mapping[str, Any],
) -> dict[str, float]:
  """Returns how far a network is from timm's samples of its outputs.

  Args:
    model: The network.
    config: Its configuration.
    samples: Of published_peers.py: of logits and of the output of each stage.

  Returns:
    The difference over the largest value, of each output.
  """
  outputs = serving.representations(model)(
    published_weights.image(*config.height_width), training=False
  )
  return {
    name: published_weights.difference(outputs[name], sample)
    for name, sample in samples.items()
  }


def compare_live() -> Iterator[tuple[str, float]]:
  """Exports each of `LARGE`, and has timm load the folder.

  Yields:
    The name, and the largest difference over the largest value of an output.
  """
  for name, settings in LARGE.items():
    tf.keras.backend.clear_session()
    size = settings.get('image_size', 224)
    data = {'image_size': size}
    experiment = experiments.make_experiment(
      model={'image_size': size, **settings}, train_data=data, eval_data=data
    )
    with tempfile.TemporaryDirectory() as scratch:
      model_dir = runs.write_run(os.path.join(scratch, 'run'), experiment)
      folder = os.path.join(scratch, 'timm')
      publishing.publish(model_dir, folder)
      found = peers.ask(
        'timm', f'local-dir:{folder}', experiment.model.height_width
      )
      model = network.classifier(experiment.model)
      checkpoints.load_weights(model, model_dir)
    wrong = differences(model, experiment.model, found['samples'])
    yield name, float(np.max(list(wrong.values())))


def _write():
  lines = []
  for name, settings in SMALL.items():
    config = config_lib.ModelConfig(**settings)
    architecture = timm_settings.architecture(config)
    args = timm_settings.model_args(config)
    args = {**args, 'num_classes': config.num_classes}
    found = peers.ask('timm', architecture, config.height_width, args=args)
    print(name, found['version'], flush=True)
    found = {'architecture': architecture, 'model_args': args, **found}
    lines.append(f' {json.dumps(name)}: {json.dumps(found)}')
  with open(FILE, 'w', encoding='utf-8') as f:
    f.write('{\n' + ',\n'.join(lines) + '\n}\n')


if __name__ == '__main__':
  if sys.argv[1:] != ['--write']:
    sys.exit(__doc__)
  _write()
