"""Runs on logical CPU devices, in a process of their own.

Two strategies in one process collide: their collectives share names. So the
tests start this file once for each number of replicas, and compare what it
leaves behind:

    python tests/replicas_fixture.py FOLDER NUM_REPLICAS BATCH_NORM...

BATCH_NORM is 'synchronized', 'local' (each replica its own statistics) or
'groups=N': one device that normalises N parts of its batch, each for itself.
A run leaves FOLDER/NUM_REPLICAS-BATCH_NORM.npz.
"""

import os
import subprocess
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from official_coatnet.data import pipeline  # noqa: E402
from official_coatnet.modeling import layers, network  # noqa: E402
from official_coatnet.training import (  # noqa: E402
  checkpoints,
  clock,
  distribution,
  evaluator,
  plan,
  trainer,
)
from tests import experiment_fixture as fixture  # noqa: E402

STEPS = 4
NUM_EVAL_EXAMPLES = 11  # Neither a multiple of the batch nor of the replicas.
CLIP_NORM = 0.1
# Of weights and averages, which are float64. What the host is told, and the
# loss, are float32: one rounding is 6e-8 of a value. AdamW's epsilon below
# keeps it from blowing up where a gradient is as good as zero.
WEIGHTS_TOLERANCE = 1e-8
FLOAT32_TOLERANCE = 1e-6


class GroupedBatchNorm(tf.keras.layers.Layer):
  """BatchNorm over each of `groups` consecutive parts of a batch.

  Written out, from moments: what replicas with statistics of their own do. The
  moving statistics take the mean over the groups.
  """

  def __init__(self, groups, *, momentum, epsilon, **kwargs):
    super().__init__(**kwargs)
    self.groups, self.momentum, self.epsilon = groups, momentum, epsilon

  def build(self, shape):
    def weight(name, initializer, trainable):
      return self.add_weight(
        name, [shape[-1]], initializer=initializer, trainable=trainable
      )

    self.gamma = weight('gamma', 'ones', True)
    self.beta = weight('beta', 'zeros', True)
    self.moving_mean = weight('moving_mean', 'zeros', False)
    self.moving_variance = weight('moving_variance', 'ones', False)

  def call(self, x, training=None):
    mean, variance = self.moving_mean, self.moving_variance
    if training:
      # [b, h, w, c] -> [groups, b / groups, h, w, c]
      parts = tf.reshape(x, [self.groups, -1, *x.shape[1:]])
      mean, variance = tf.nn.moments(parts, [1, 2, 3], keepdims=True)
      for moving, value in (
        (self.moving_mean, mean),
        (self.moving_variance, variance),
      ):
        value = tf.reduce_mean(value, [0, 1, 2, 3])
        moving.assign(moving * self.momentum + value * (1 - self.momentum))
      y = (parts - mean) / tf.sqrt(variance + self.epsilon)
      return tf.reshape(y, tf.shape(x)) * self.gamma + self.beta
    return (x - mean) / tf.sqrt(
      variance + self.epsilon
    ) * self.gamma + self.beta


def make_experiment(*, synchronized: bool):
  """All that could depend on the number of replicas, switched on.

  In float64, so that a difference of method is told from one of rounding; the
  losses alone are float32.
  """
  labels = {'schema': 'multilabel', 'max_labels': 3}
  return fixture.make_experiment(
    model={
      'blocks': (1, 1, 1, 1, 1),
      'widths': (8, 8, 8, 16, 16),
      'head_size': 8,
      'dtype': 'float64',
      'stochastic_depth': 0.5,
      'sync_batch_norm': synchronized,
      'batch_norm_momentum': 0.5,
      'head_bias': -1.0,
    },
    train_data={
      'batch_size': 8,
      'num_examples': 16,
      'shuffle_buffer': 16,
      'mixup_alpha': 0.8,
      **labels,
    },
    eval_data={'batch_size': 8, 'num_examples': NUM_EVAL_EXAMPLES, **labels},
    loss={'name': 'sigmoid', 'label_smoothing': 0.01},
    optimizer={
      'ema_decay': 0.5,
      'clip_norm': CLIP_NORM,
      'epsilon': 1e-3,
      'peak_learning_rate': 1e-2,
    },
    run={'train_steps': STEPS},
  )


def run(strategy, experiment) -> dict[str, np.ndarray]:
  """Trains and evaluates; returns the curve, the metrics and the weights."""
  tf.keras.utils.set_random_seed(1)
  steps = plan.make_plan(
    experiment,
    num_replicas=strategy.num_replicas_in_sync,
    num_train_examples=16,
    num_eval_examples=NUM_EVAL_EXAMPLES,
  )

  def batches(data, *, is_training):
    return strategy.distribute_datasets_from_function(
      lambda context: pipeline.make_dataset(
        data, seed=3, is_training=is_training, input_context=context
      )
    )

  with strategy.scope():
    made = trainer.Trainer(
      experiment,
      network.classifier(experiment.model, draw_keys=True),
      plan=steps,
      strategy=strategy,
      clock=clock.Clock(num_cores=1, batch_size=8),
    )
    judge = evaluator.Evaluator(
      experiment,
      made.model,
      strategy=strategy,
      dataset=batches(experiment.eval_data, is_training=False),
      expected_steps=steps.eval_steps,
      weights=lambda: made.average.swapped(strategy),
    )
  made.set_dataset(batches(experiment.train_data, is_training=True))
  outputs = [made.train(tf.constant(1)) for _ in range(STEPS)]
  values = {
    f'train/{name}': np.array([output[name] for output in outputs])
    for name in ('loss', 'gradient_norm', 'learning_rate', 'precision_at_1')
  }
  for name, value in judge.evaluate(tf.constant(-1)).items():
    values[f'eval/{name}'] = np.array(value)
  for name, weight in checkpoints.named_weights(made.model).items():
    values[f'weights/{name}'] = weight.numpy()
    values[f'ema/{name}'] = made.average.averages[name].numpy()
  values['programs'] = np.array(
    [
      made.train_loop.experimental_get_tracing_count(),
      judge._loop.experimental_get_tracing_count(),
    ]
  )
  return values


def replace_batch_norm(groups: int):
  """Makes networks normalise by groups. For the rest of the process."""

  def make_norm(norm, *, name, dtype, implementation='reference'):
    del implementation  # Of the reference, whatever is asked for.
    return GroupedBatchNorm(
      groups,
      momentum=norm['momentum'],
      epsilon=norm['epsilon'],
      name=name,
      dtype=dtype,
    )

  layers.make_norm = make_norm


def main(argv):
  """Runs and writes the files."""
  folder, replicas, batch_norms = argv[1], int(argv[2]), argv[3:]
  tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0],
    [tf.config.LogicalDeviceConfiguration()] * replicas,
  )
  # Graphs that run four times are not worth optimizing.
  tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True})
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  if replicas > 1:
    strategy = distribution.mirrored_cpu_strategy(replicas)
  for batch_norm in batch_norms:
    if batch_norm.startswith('groups='):
      replace_batch_norm(int(batch_norm.partition('=')[2]))
    experiment = make_experiment(synchronized=batch_norm == 'synchronized')
    values = run(strategy, experiment)
    np.savez(os.path.join(folder, f'{replicas}-{batch_norm}.npz'), **values)


def start(folder: str, replicas: int, *batch_norms: str) -> None:
  """Runs this file in a process of its own.

  Raises:
    AssertionError: If it fails; with its words.
  """
  command = [sys.executable, os.path.abspath(__file__), folder, str(replicas)]
  result = subprocess.run(
    [*command, *batch_norms], capture_output=True, text=True, check=False
  )
  if result.returncode:
    raise AssertionError(result.stdout + result.stderr)


def compare(case, folder: str, run_a: str, run_b: str) -> None:
  """Asserts that two runs have one curve, one evaluation and one network."""
  a, b = (np.load(os.path.join(folder, f'{r}.npz')) for r in (run_a, run_b))
  case.assertEqual(set(a.files), set(b.files))
  # The settings do what they are there for.
  case.assertTrue(np.all(a['train/gradient_norm'] > CLIP_NORM))
  case.assertEqual(a['eval/examples'], NUM_EVAL_EXAMPLES)
  for name in a.files:
    group = name.partition('/')[0]
    tolerance = (
      WEIGHTS_TOLERANCE if group in ('weights', 'ema') else FLOAT32_TOLERANCE
    )
    np.testing.assert_allclose(
      a[name], b[name], rtol=tolerance, atol=tolerance, err_msg=name
    )


if __name__ == '__main__':
  main(sys.argv)
