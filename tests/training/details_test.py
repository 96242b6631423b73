import collections
import dataclasses
import glob
import os

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from official_coatnet.training import controller, details
from tests.fixtures import experiments


def read_events(folder):
  """Returns name to {step: value} of the events that lie in a folder itself."""
  found = collections.defaultdict(dict)
  for path in glob.glob(os.path.join(folder, 'events.out.tfevents.*')):
    for record in tf.data.TFRecordDataset(path):
      event = tf.compat.v1.Event.FromString(record.numpy())
      for value in event.summary.value:
        array = tf.make_ndarray(value.tensor) if value.HasField('tensor') else 0
        found[value.tag][event.step] = array
  return found


class DetailsTest(tf.test.TestCase):
  def test_a_run(self):
    folder = self.create_tempdir().full_path
    experiment = experiments.make_experiment(
      train_data={'mixup_alpha': 0.5},
      run={'stage_norms': True, 'steps_per_loop': 1, 'train_steps': 3},
    )
    controller.run(
      experiment,
      mode='train_and_eval',
      model_dir=folder,
      strategy=tf.distribute.OneDeviceStrategy('CPU'),
    )
    found = read_events(folder)
    self.assertIn(
      b'"peak_learning_rate": 0.001', found['configuration'][0].item()
    )
    self.assertIn('_hparams_/session_start_info', found)
    height, width, png = found['batch'][0]
    pixels = tf.io.decode_png(png).numpy()
    self.assertEqual(pixels.shape[:2], (int(width), int(height)))
    tables = [tag for tag in found if tag.startswith('relative_bias/')]
    self.assertIn('relative_bias/s4_block0/attention', tables)
    self.assertEqual(list(found[tables[0]]), [3])
    for kind, steps in (
      ('gradient', [1, 2, 3]),
      ('weight', [1, 2, 3]),
      ('moved', [2, 3]),
    ):
      for stage in ('s0', 's3', 'head'):
        values = found[f'norms/{kind}/{stage}']
        self.assertEqual(sorted(values), steps)
        self.assertGreater(min(map(float, values.values())), 0)
    # Each step moves weights by little of their size.
    self.assertLess(found['norms/moved/s3'][3], found['norms/weight/s3'][3])

  def test_batch_is_as_training_sees_it(self):
    experiment = experiments.make_experiment(
      train_data={'mixup_alpha': 0.5, 'num_examples': 32},
      loss={'label_smoothing': 0.1},
    )
    images, targets = details.make_batch(experiment)
    self.assertEqual(images.shape, (16, 32, 32, 3))
    self.assertEqual(images.dtype, np.uint8)
    self.assertGreater(images.std(), 5)
    self.assertAllClose(targets.sum(axis=1), np.ones(16), atol=1e-5)
    again, _ = details.make_batch(experiment)
    self.assertAllEqual(images, again)
    other = dataclasses.replace(
      experiment, run=dataclasses.replace(experiment.run, seed=1)
    )
    self.assertNotAllEqual(images, details.make_batch(other)[0])

  def test_words_of_labels(self):
    target = np.array([0.02, 0.62, 0.02, 0.32, 0.02], np.float32)
    self.assertEqual(details.label_words(target), '1: 0.62, 3: 0.32')
    self.assertEqual(details.label_words(np.zeros(4, np.float32)), '')

  def test_tables(self):
    tables = np.zeros([2, 3, 5], np.float32)
    tables[0, 0, 0], tables[1, 2, 4] = -2.0, 1.0
    picture = details.draw_tables(tables)
    self.assertEqual(picture.shape, (3 * 8, 2 * 6 * 8, 3))
    self.assertEqual(list(picture[0, 0]), [0, 0, 255])
    self.assertEqual(list(picture[8, 8]), [255, 255, 255])
    self.assertEqual(list(picture[-1, (6 + 4) * 8]), [255, 128, 128])


if __name__ == '__main__':
  absltest.main()
