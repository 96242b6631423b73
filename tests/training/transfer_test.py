"""Tests of training.transfer: what fine-tuning takes from a checkpoint."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.modeling import config, network
from official_coatnet.training import checkpoints, guard, saving, transfer
from tests.fixtures import damage, runs


def _model(**kwargs):
  settings = dict(name='coatnet_test', image_size=64, num_classes=5)
  return network.classifier(config.ModelConfig(**{**settings, **kwargs}))


def _interpolate(values, length):
  """Linear interpolation with half-pixel centres, in closed form."""
  old = len(values)
  positions = (np.arange(length) + 0.5) * old / length - 0.5
  positions = np.clip(positions, 0, old - 1)
  low = np.floor(positions).astype(int)
  high = np.minimum(low + 1, old - 1)
  weight = positions - low
  return (1 - weight) * values[low] + weight * values[high]


class TransferTest(tf.test.TestCase, parameterized.TestCase):
  def _save(self, model, *, averages=None):
    folder = self.create_tempdir().full_path
    checkpoint = checkpoints.make_checkpoint(model, averages=averages or {})
    tf.train.CheckpointManager(
      checkpoint, folder, max_to_keep=1, checkpoint_name='ckpt'
    ).save(checkpoint_number=1)
    return folder

  def test_same_network_is_loaded_whole(self):
    model = _model()
    folder = self._save(model)
    other = _model()
    outcome = transfer.initialize(other, folder)
    self.assertLen(outcome.loaded, len(model.weights))
    self.assertEqual((outcome.resized, outcome.new), ([], []))
    for a, b in zip(model.get_weights(), other.get_weights()):
      self.assertAllEqual(a, b)

  def test_new_last_layer_although_the_classes_are_as_many(self):
    model = _model()
    for v in model.weights:
      v.assign(tf.random.stateless_normal(v.shape, seed=(1, 2)))
    folder = self._save(model)
    other = _model()
    head = [v.numpy() for v in other.get_layer('logits').weights]
    outcome = transfer.initialize(other, folder, new_last_layer=True)
    self.assertEqual(outcome.new, ['logits/kernel', 'logits/bias'])
    self.assertLen(outcome.loaded, len(model.weights) - 2)
    for v, value in zip(other.get_layer('logits').weights, head):
      self.assertAllEqual(v, value)
    self.assertAllEqual(other.weights[0], model.weights[0])

  @parameterized.parameters(96, ((64, 96),), 32)
  def test_other_image_size_and_classes(self, image_size):
    model = _model()
    for v in model.weights:
      v.assign(tf.random.stateless_normal(v.shape, seed=(1, 2)))
    folder = self._save(model)
    other = _model(image_size=image_size, num_classes=3)
    head = [v.numpy() for v in other.get_layer('logits').weights]
    outcome = transfer.initialize(other, folder)
    self.assertEqual(outcome.new, ['logits/kernel', 'logits/bias'])
    self.assertLen(outcome.resized, 2)
    old = checkpoints.named_weights(model)
    for name, v in checkpoints.named_weights(other).items():
      if name in outcome.loaded:
        self.assertAllEqual(v, old[name], name)
      elif name.endswith('/relative_bias'):
        self.assertAllClose(
          v, transfer.resize_table(old[name].numpy(), tuple(v.shape)), msg=name
        )
    for v, value in zip(other.get_layer('logits').weights, head):
      self.assertAllEqual(v, value)
    table = outcome.table()
    self.assertIn('new           2  logits/kernel, logits/bias', table)
    self.assertIn('relative-bias tables [7, 7] to', table)

  def test_backbone_takes_all_but_the_head(self):
    model = _model()
    folder = self._save(model)
    backbone = network.backbone(
      config.ModelConfig('coatnet_test', image_size=96)
    )
    outcome = transfer.initialize(backbone, folder)
    self.assertLen(outcome.loaded, len(backbone.weights) - 2)
    self.assertLen(outcome.resized, 2)
    self.assertCountEqual(
      outcome.left_out,
      [
        f'{layer}/{name}'
        for layer in ('pre_logits', 'logits')
        for name in ('kernel', 'bias')
      ]
      + ['head_norm/gamma', 'head_norm/beta'],
    )
    old = checkpoints.named_weights(model)['s2_block0/expand_conv/kernel']
    self.assertAllEqual(backbone.get_layer('s2_block0').expand_conv.kernel, old)

  @parameterized.parameters(((27, 27), (47, 47)), ((13, 27), (23, 31)))
  def test_resize_in_closed_form(self, old, new):
    table = np.random.default_rng(0).normal(size=(3, *old)).astype(np.float32)
    rows = np.apply_along_axis(_interpolate, 1, table, new[0])
    expected = np.apply_along_axis(_interpolate, 2, rows, new[1])
    actual = transfer.resize_table(table, (3, *new))
    self.assertEqual(actual.dtype, np.float32)
    self.assertAllClose(actual, expected, atol=1e-5)

  def test_resize_to_the_same_size_changes_nothing(self):
    table = np.random.default_rng(0).normal(size=(3, 27, 27))
    self.assertIs(transfer.resize_table(table, (3, 27, 27)), table)

  def test_ema_or_raw(self):
    model = _model()
    averages = {
      name: tf.Variable(tf.fill(v.shape, 2.0))
      for name, v in checkpoints.named_weights(model).items()
    }
    folder = self._save(model, averages=averages)
    for weights, group in ((None, 'ema'), ('ema', 'ema'), ('raw', 'raw')):
      other = _model()
      outcome = transfer.initialize(other, folder, weights=weights)
      self.assertEqual(outcome.group, group)
      kernel = other.get_layer('logits').kernel
      expected = 2.0 if group == 'ema' else model.get_layer('logits').kernel
      self.assertAllEqual(kernel, tf.broadcast_to(expected, kernel.shape))
    with self.assertRaisesRegex(ValueError, 'holds no average'):
      transfer.initialize(_model(), self._save(model), weights='ema')

  @parameterized.parameters(
    ({'head_size': 8}, r'query/kernel: \[16, 2, 16\] in the checkpoint'),
    ({'representation_size': None}, 'pre_logits/kernel: only in the check'),
    ({'norm': 'layer_norm'}, 'expand_conv/bias: not in the checkpoint'),
    ({'blocks': (2, 1, 2, 1, 1)}, 's2_block1/.*: not in the checkpoint'),
  )
  def test_what_does_not_fit_stops_and_changes_nothing(self, kwargs, message):
    folder = self._save(_model())
    other = _model(**kwargs)
    before = other.get_weights()
    with self.assertRaisesRegex(ValueError, f'(?s){message}.*ModelConfig'):
      transfer.initialize(other, folder)
    for a, b in zip(before, other.get_weights()):
      self.assertAllEqual(a, b)

  def test_weights_that_are_not_finite_change_nothing(self):
    model = _model()
    runs.ruin(model.get_layer('logits').kernel)
    whole = checkpoints.named_weights(_model())
    folder = self._save(model, averages=whole)
    other = _model()
    before = other.get_weights()
    with self.assertRaisesRegex(
      guard.NonFiniteWeightsError,
      r'No network starts from the .*\(raw\).* in logits/kernel. Take',
    ):
      transfer.initialize(other, folder, weights='raw')
    for a, b in zip(before, other.get_weights()):
      self.assertAllEqual(a, b)
    # The averages of that run are whole.
    transfer.initialize(other, folder, weights='ema')
    self.assertAllEqual(
      other.get_layer('logits').kernel, whole['logits/kernel']
    )

  def test_a_damaged_latest_checkpoint(self):
    model = _model()
    manager = saving.CheckpointManager(
      checkpoints.make_checkpoint(model, averages={}),
      self.create_tempdir().full_path,
      max_to_keep=2,
    )
    old = model.get_weights()
    manager.save(2)
    for variable in model.weights:
      variable.assign(variable + 1)
    manager.save(4)
    damage.OF_CHECKPOINT['data empty'](manager.directory, 4)
    with self.assertLogs(level='WARNING') as logs:
      outcome = transfer.initialize(model, manager.directory)
    self.assertRegex('\n'.join(logs.output), 'ckpt-4.*is damaged')
    self.assertEndsWith(outcome.prefix, 'ckpt-2')
    for new, value in zip(model.get_weights(), old):
      self.assertAllEqual(new, value)

  def test_evaluation_at_another_size_names_the_remedy(self):
    folder = self._save(_model())
    with self.assertRaisesRegex(ValueError, '(?s)another image size.*init_ch'):
      checkpoints.load_weights(_model(image_size=96), folder)


if __name__ == '__main__':
  tf.test.main()
