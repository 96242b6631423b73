"""Input pipelines of a pod: 2 and 16 hosts, simulated in one process."""

import tempfile
import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import pipeline, schema
from official_coatnet.records import writing
from tests.fixtures import graphs

# The colour of an image says its class and which one it is; a class is as
# frequent as its number. Shards are mixed, as builders mix them.
NUM_CLASSES = 8
NUM_SHARDS = 32
LABELS = np.random.default_rng(0).permutation(
  np.repeat(np.arange(NUM_CLASSES), 20 * np.arange(1, NUM_CLASSES + 1))
)
BATCH_SIZE = 64


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def encode(number):
  color = [LABELS[number], number // 256, number % 256]
  pixels = np.broadcast_to(np.array(color, np.uint8), [8, 8, 3])
  return tf.io.encode_png(pixels).numpy()


def numbers(batch):
  """Which images a batch has, by their colour."""
  color = batch['image'][:, 0, 0].astype(int)
  return color[:, 1] * 256 + color[:, 2]


def write(folder):
  def make_shard(shard):
    for i in writing.shard_range(shard, NUM_SHARDS, num_examples=len(LABELS)):
      label = int(LABELS[i])
      record = schema.serialize_imagenet(
        encode(i), label=label + 1, height=8, width=8
      )
      yield writing.Record(record, [label + 1])

  writing.write_split(
    make_shard,
    folder,
    split='train',
    num_shards=NUM_SHARDS,
    schema='imagenet',
    num_classes=NUM_CLASSES,
    label_offset=-1,
  )


class PodsTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    write(cls.folder)

  def make(self, num_hosts, host, num_replicas):
    config = pipeline.DataConfig(
      num_classes=NUM_CLASSES,
      image_size=8,
      batch_size=BATCH_SIZE,
      data_dir=self.folder,
      shuffle_buffer=16,
      parallel_calls=1,
    )
    return pipeline.make_dataset(
      config,
      seed=3,
      input_context=tf.distribute.InputContext(num_hosts, host, num_replicas),
      is_training=True,
    )

  # A slice of 8 cores has a host a 4 or 8 of them.
  @parameterized.parameters((2, 8), (16, 64))
  def test_training(self, num_hosts, num_replicas):
    local = num_replicas // num_hosts
    steps = 12  # 768 examples, of which a host reads its share once or so.
    size = BATCH_SIZE // num_replicas
    index = np.zeros([steps, num_replicas, size], np.int64)
    label = np.zeros([steps, num_replicas, size], np.int64)
    seen = []
    for host in range(num_hosts):
      seen.append(set())
      dataset = self.make(num_hosts, host, num_replicas)
      for number, batch in enumerate(
        dataset.take(steps * local).as_numpy_iterator()
      ):
        step, replica = divmod(number, local)
        self.assertAllEqual(batch['image'][:, 0, 0, 0], batch['label'][:, 0])
        seen[-1].update(numbers(batch).tolist())
        index[step, host * local + replica] = batch['index']
        label[step, host * local + replica] = batch['label'][:, 0]
    # Disjoint, and together complete.
    self.assertEqual(sum(map(len, seen)), len(LABELS))
    self.assertEqual(set().union(*seen), set(range(len(LABELS))))
    # Step by step and replica by replica, the indices count up without a gap.
    self.assertAllEqual(index.ravel(), np.arange(steps * BATCH_SIZE))
    # Of all steps together: how often a class was drawn, against the corpus.
    # 48 of the 768 come a second time.
    share = np.bincount(LABELS, minlength=NUM_CLASSES) / len(LABELS)
    drawn = np.bincount(label.ravel(), minlength=NUM_CLASSES)
    self.assertAllClose(drawn / label.size, share, atol=0.02)
    # Of each batch: chi-squared with 7 degrees of freedom, 24.3 once in 1,000;
    # the mean of 12 of them, 7 +- 1.1.
    expected = share * BATCH_SIZE
    counts = np.stack(
      [np.bincount(each.ravel(), minlength=NUM_CLASSES) for each in label]
    )
    chi_squared = ((counts - expected) ** 2 / expected).sum(axis=1)
    self.assertLess(chi_squared.max(), 26)
    self.assertBetween(chi_squared.mean(), 3, 11)


if __name__ == '__main__':
  tf.test.main()
