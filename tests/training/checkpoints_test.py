"""Tests of training.checkpoints."""

import os

import numpy as np
import tensorflow as tf

from official_coatnet.modeling import config, network
from official_coatnet.training import checkpoints, model_dir


def _model(**kwargs):
  settings = dict(name='coatnet_test', image_size=32, num_classes=5)
  return network.classifier(config.ModelConfig(**{**settings, **kwargs}))


class CheckpointsTest(tf.test.TestCase):
  def _save(self, model, *, averages=None, step=7):
    folder = self.create_tempdir().full_path
    checkpoint = checkpoints.make_checkpoint(model, averages=averages or {})
    tf.train.CheckpointManager(
      checkpoint, folder, max_to_keep=2, checkpoint_name='ckpt'
    ).save(checkpoint_number=step)
    return folder

  def _averages(self, model, value):
    return {
      name: tf.Variable(tf.fill(v.shape, value))
      for name, v in checkpoints.named_weights(model).items()
    }

  def test_weights_come_back_by_name(self):
    model = _model()
    for i, v in enumerate(model.weights):
      v.assign(tf.fill(v.shape, float(i)))
    folder = self._save(model)
    # Another builder: with draw keys, so that the layers are numbered anew.
    other = network.classifier(
      config.ModelConfig('coatnet_test', image_size=32, num_classes=5),
      draw_keys=True,
    )
    prefix = checkpoints.load_weights(other, folder)
    self.assertEqual(prefix, os.path.join(folder, 'ckpt-7'))
    self.assertEqual(model_dir.checkpoint_step(prefix), 7)
    named = checkpoints.named_weights(other)
    for name, v in checkpoints.named_weights(model).items():
      self.assertAllEqual(named[name], v)

  def test_ema_is_taken_where_there_is_one(self):
    model = _model()
    raw = model.get_weights()
    folder = self._save(model, averages=self._averages(model, 3.0))
    for weights, expected in (
      (None, [np.full_like(w, 3.0) for w in raw]),
      ('ema', [np.full_like(w, 3.0) for w in raw]),
      ('raw', raw),
    ):
      other = _model()
      checkpoints.load_weights(other, folder, weights=weights)
      for actual, value in zip(other.get_weights(), expected):
        self.assertAllEqual(actual, value)

  def test_ema_that_is_not_there(self):
    folder = self._save(_model())
    self.assertEqual(checkpoints.StoredWeights(folder).group, 'raw')
    with self.assertRaisesRegex(ValueError, 'no average.*weights="raw"'):
      checkpoints.load_weights(_model(), folder, weights='ema')

  def test_checkpoint_of_another_network(self):
    folder = self._save(_model())
    with self.assertRaisesRegex(
      ValueError, r'logits/kernel: \[32, 5\] in the checkpoint, \[32, 9\]'
    ):
      checkpoints.load_weights(_model(num_classes=9), folder)
    with self.assertRaisesRegex(ValueError, 'pre_logits.*only in the check'):
      checkpoints.load_weights(_model(representation_size=None), folder)

  def test_a_failed_load_changes_nothing(self):
    folder = self._save(_model())
    other = _model(num_classes=9)
    before = other.get_weights()
    with self.assertRaises(ValueError):
      checkpoints.load_weights(other, folder)
    for a, b in zip(before, other.get_weights()):
      self.assertAllEqual(a, b)

  def test_resumes_only_what_is_its_own(self):
    model = _model()
    folder = self._save(model)
    latest = checkpoints.newest_whole(folder)
    checkpoints.check_resumable(model, latest, has_averages=False)
    checkpoints.check_resumable(model, None, has_averages=True)
    with self.assertRaisesRegex(ValueError, '(?s)cannot resume.*logits/kernel'):
      checkpoints.check_resumable(
        _model(num_classes=9), latest, has_averages=False
      )
    with self.assertRaisesRegex(ValueError, '`ema_decay` is set, but the ch'):
      checkpoints.check_resumable(model, latest, has_averages=True)
    averaged = checkpoints.newest_whole(
      self._save(model, averages=self._averages(model, 1.0))
    )
    checkpoints.check_resumable(model, averaged, has_averages=True)

  def test_damaged_checkpoint(self):
    folder = self._save(_model())
    index = os.path.join(folder, 'ckpt-7.index')
    with open(index, 'r+b') as f:
      f.truncate(20)
    with self.assertRaisesRegex(ValueError, 'ckpt-7.*is damaged or cut off'):
      checkpoints.load_weights(_model(), folder)
    folder = self._save(_model())
    os.truncate(os.path.join(folder, 'ckpt-7.data-00000-of-00001'), 300)
    with self.assertRaisesRegex(ValueError, 'ckpt-7.*is damaged or cut off'):
      checkpoints.load_weights(_model(), folder)
    with self.assertRaisesRegex(ValueError, 'its files are damaged or cut off'):
      with checkpoints.readable(os.path.join(folder, 'ckpt-7')):
        tf.train.Checkpoint().restore(os.path.join(folder, 'ckpt-7'))

  def test_a_checkpoint_of_something_else(self):
    folder = self.create_tempdir().full_path
    path = tf.train.Checkpoint(x=tf.Variable(1.0)).save(
      os.path.join(folder, 'ckpt')
    )
    with self.assertRaisesRegex(ValueError, 'holds no weights of a network'):
      checkpoints.load_weights(_model(), path)

  def test_where_a_run_that_has_diverged_goes_on(self):
    folder = self.create_tempdir().full_path
    model, say = _model(), checkpoints.describe_good
    self.assertRegex(say(folder), '^No checkpoint was written before')
    manager = tf.train.CheckpointManager(
      checkpoints.make_checkpoint(model, averages={}),
      folder,
      max_to_keep=2,
      checkpoint_name='ckpt',
    )
    manager.save(1)
    self.assertRegex(say(folder), 'ckpt-1, is from before: the same command')
    weight = model.trainable_weights[-1]
    weight.assign(tf.fill(weight.shape, float('nan')))
    manager.save(2)
    self.assertRegex(
      say(folder),
      'ckpt-2, holds .* no numbers; .* is .*ckpt-1. .*path: "ckpt-1" into',
    )
    # What it says to do: TensorFlow takes that for the latest.
    state = os.path.join(folder, 'checkpoint')
    with open(state) as f:
      _, *others = f.read().splitlines()
    with open(state, 'w') as f:
      f.write('\n'.join(['model_checkpoint_path: "ckpt-1"', *others]))
    self.assertEndsWith(model_dir.find_checkpoint(folder), 'ckpt-1')
    manager.save(3)
    self.assertRegex(say(folder), 'hold weights that are no numbers, too')


if __name__ == '__main__':
  tf.test.main()
