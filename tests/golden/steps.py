"""Ten training steps and a few forward passes, as numbers.

    python -m tests.golden.steps --write

writes steps.json beside this file; README.md says when that is right, which is
almost never. The numbers come from the trainer itself, fed by the pipeline. The
weights at the start are functions of their names and nothing else, so that they
do not depend on the order in which a network makes its variables.
"""

import json
import math
import os
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from official_coatnet.data import pipeline
from official_coatnet.modeling import config as config_lib, network
from official_coatnet.training import (
  checkpoints,
  experiment as experiment_lib,
  gin_config,
  plan,
  reporting,
  trainer,
)

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(os.path.dirname(_HERE))
FILE = os.path.join(_HERE, 'steps.json')
STEPS = 10
IMPLEMENTATIONS = ('reference', 'tpu', 'cpu')
_LOSSES = {
  'softmax': (
    "LossConfig.name = 'softmax'",
    'LossConfig.label_smoothing = 0.1',
  ),
  'sigmoid': (
    "LossConfig.name = 'sigmoid'",
    'LossConfig.label_smoothing = 0.01',
    "DataConfig.schema = 'multilabel'",
    'DataConfig.max_labels = 3',
  ),
}
LOSSES = tuple(_LOSSES)
# Of the network, for its forward pass: the last is what an export serves.
FORWARD = {
  'reference': {'implementation': 'reference'},
  'tpu': {'implementation': 'tpu'},
  'cpu': {'implementation': 'cpu'},
  'onednn': {'implementation': 'onednn'},
  'onednn_folded': {'implementation': 'onednn', 'norm': 'none'},
}


def make_experiment(loss: str, *bindings: str) -> experiment_lib.Experiment:
  """Returns the experiment of steps.gin with one of the losses."""
  return gin_config.load(
    [os.path.join(_HERE, 'steps.gin')],
    [*_LOSSES[loss], *bindings],
    root=_ROOT,
  )


def batches(loss: str) -> list[dict[str, float]]:
  """Returns the mean over what each batch holds, by name, with RandAugment."""
  experiment = make_experiment(loss, 'train/DataConfig.randaugment = (2, 10)')
  data = pipeline.make_dataset(
    experiment.train_data, seed=experiment.run.seed, is_training=True
  )
  return [
    {
      name: float(np.mean(values, dtype=np.float64))
      for name, values in batch.items()
    }
    for batch in data.take(STEPS).as_numpy_iterator()
  ]


def train(loss: str, *, implementation: str) -> dict[str, Any]:
  """Trains `STEPS` steps.

  Returns:
    `loss`, `gradient_norm` and `learning_rate`, a number a step; `weights_lag`
    and `statistics_lag`, how far the moving averages are behind the weights and
    BatchNorm statistics after each; and for `weights` and `statistics` the
    `norm` of their change, and its `projection` on a random direction.
  """
  experiment = make_experiment(
    loss, f"ModelConfig.implementation = '{implementation}'"
  )
  made = _make_trainer(experiment)
  variables = checkpoints.named_weights(made.model)
  start = {name: _value(name, v.shape) for name, v in variables.items()}
  for name, variable in variables.items():
    variable.assign(start[name])
  made.average.reset()
  trainable = {name: v for name, v in variables.items() if v.trainable}
  statistics = {n: v for n, v in variables.items() if n not in trainable}
  groups = (('weights', trainable), ('statistics', statistics))
  result = {f'{name}_lag': [] for name, _ in groups}
  for _ in range(STEPS):
    output = made.train(tf.constant(1))
    for name in ('loss', 'gradient_norm', 'learning_rate'):
      result.setdefault(name, []).append(output[name])
    for name, members in groups:
      averages = {n: made.average.averages[n].numpy() for n in members}
      result[f'{name}_lag'].append(_change(members, averages)['norm'])
  return result | {name: _change(members, start) for name, members in groups}


def forward(settings: Mapping[str, Any]) -> list[list[float]]:
  """Returns the logits of a network for images that it never saw.

  Args:
    settings: Fields of its configuration.
  """
  config = config_lib.ModelConfig(
    'coatnet_test', image_size=64, num_classes=7, **settings
  )
  model = network.classifier(config)
  for name, variable in checkpoints.named_weights(model).items():
    variable.assign(_value(name, variable.shape))
  rng = np.random.default_rng(0)
  # [image, height, width, channels]; images differ in colour and contrast.
  images = rng.normal(size=(5, 64, 64, 3)) * np.linspace(0.3, 2.0, 5)[
    :, np.newaxis, np.newaxis, np.newaxis
  ] + rng.normal(size=(5, 1, 1, 3))
  # In a graph, where operations are fused.
  return model.predict_on_batch(images.astype(np.float32)).tolist()


def _make_trainer(experiment: experiment_lib.Experiment) -> trainer.Trainer:
  """Returns a trainer at step 0 with batches to come."""
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  steps = plan.make_plan(
    experiment,
    num_replicas=1,
    num_train_examples=experiment.train_data.num_examples,
    num_eval_examples=experiment.eval_data.num_examples,
  )
  with strategy.scope():
    made = trainer.Trainer(
      experiment,
      network.classifier(experiment.model, draw_keys=True),
      plan=steps,
      strategy=strategy,
      clock=reporting.Clock(num_cores=1, batch_size=steps.batch_size),
    )
  made.set_dataset(
    strategy.distribute_datasets_from_function(
      lambda context: pipeline.make_dataset(
        experiment.train_data,
        seed=experiment.run.seed,
        is_training=True,
        input_context=context,
      )
    )
  )
  return made


def _rng(name: str, purpose: int) -> np.random.Generator:
  return np.random.default_rng([zlib.crc32(name.encode()), purpose])


def _value(name: str, shape: tf.TensorShape) -> np.ndarray:
  """Returns a value under which the weight of that name counts, float32."""
  shape = tuple(shape)
  kind = name.split('/')[-1]
  rng = _rng(name, 0)
  value = rng.standard_normal(shape)
  if kind == 'moving_variance':
    value = rng.uniform(0.5, 2.0, shape)
  elif kind == 'gamma':
    value = 1 + 0.3 * value
  elif kind == 'depthwise_kernel':
    value /= 3
  elif kind == 'kernel':
    value /= math.sqrt(math.prod(shape[:-1]))
  elif kind != 'relative_bias':
    value *= 0.3
  return value.astype(np.float32)


def _change(
  variables: Mapping[str, tf.Variable], start: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """Returns how far variables went from the start, and whereto."""
  square = projection = 0.0
  for name, variable in variables.items():
    change = variable.numpy().astype(np.float64) - start[name]
    square += float(np.sum(change**2))
    direction = _rng(name, 1).standard_normal(change.shape)
    projection += float(np.sum(change * direction))
  return {'norm': math.sqrt(square), 'projection': projection}


def all_numbers() -> dict[str, Any]:
  """Returns what steps.json holds."""
  return {
    'batches': {loss: batches(loss) for loss in LOSSES},
    'steps': {
      implementation: {
        loss: train(loss, implementation=implementation) for loss in LOSSES
      }
      for implementation in IMPLEMENTATIONS
    },
    'forward': {name: forward(config) for name, config in FORWARD.items()},
  }


def main(argv):
  """Writes the file."""
  if argv[1:] != ['--write']:
    sys.exit('usage: python -m tests.golden.steps --write')
  with open(FILE, 'w') as f:
    f.write(json.dumps(all_numbers(), indent=1) + '\n')


if __name__ == '__main__':
  main(sys.argv)
