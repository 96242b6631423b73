"""Tests of official_coatnet.data.pipeline."""

import dataclasses
import tempfile
import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import augment, pipeline, schema
from official_coatnet.records import writing
from tests.fixtures import devices, graphs

NUM_TRAIN = 61
NUM_VALIDATION = 29


def setUpModule():
  devices.use_two_cpus()
  unittest.enterModuleContext(graphs.unoptimized())


def encode(level):
  """An image whose grey level says which one it is."""
  return tf.io.encode_png(
    tf.fill([20, 24, 3], tf.cast(level, tf.uint8))
  ).numpy()


def write(folder, *, split, num_examples, num_shards):
  def make_shard(shard):
    for i in writing.shard_range(shard, num_shards, num_examples=num_examples):
      record = schema.serialize_imagenet(
        encode(i), label=i + 1, height=20, width=24
      )
      yield writing.Record(record, [i + 1])

  writing.write_split(
    make_shard,
    folder,
    split=split,
    num_shards=num_shards,
    schema='imagenet',
    num_classes=100,
    label_offset=-1,
  )


def write_multilabel(folder, examples, *, split='train'):
  def make_shard(shard):
    del shard
    for labels, confidences in examples:
      record = schema.serialize_multilabel(
        encode(0), labels=labels, confidences=confidences
      )
      yield writing.Record(record, labels)

  writing.write_split(
    make_shard,
    folder,
    split=split,
    num_shards=1,
    schema='multilabel',
    num_classes=10,
    label_offset=0,
  )


class PipelineTestCase(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.data_dir = cls.enterClassContext(tempfile.TemporaryDirectory())
    write(cls.data_dir, split='train', num_examples=NUM_TRAIN, num_shards=5)
    write(
      cls.data_dir,
      split='validation',
      num_examples=NUM_VALIDATION,
      num_shards=4,
    )

  def config(self, **fields):
    fields = {
      'num_classes': 100,
      'image_size': 16,
      'batch_size': 8,
      'data_dir': self.data_dir,
      'shuffle_buffer': 16,
      **fields,
    }
    return pipeline.DataConfig(**fields)

  def train(self, count, *, seed=3, input_context=None, start_step=0, **fields):
    dataset = pipeline.make_dataset(
      self.config(**fields),
      seed=seed,
      is_training=True,
      input_context=input_context,
      start_step=start_step,
    )
    return list(dataset.take(count).as_numpy_iterator())

  def assert_batches_equal(self, first, second):
    self.assertEqual(len(first), len(second))
    for one, other in zip(first, second):
      self.assertEqual(one.keys(), other.keys())
      for key in one:
        self.assertAllEqual(one[key], other[key], msg=key)


class BatchShareTest(tf.test.TestCase):
  def test_sizes(self):
    share = pipeline.BatchShare(24, num_hosts=2, host=1, num_replicas=6)
    self.assertEqual(share.replica_batch_size, 4)
    self.assertEqual(share.host_batch_size, 12)
    self.assertAllEqual(
      share.global_index(tf.constant([0, 11, 12])), [12, 23, 36]
    )

  def test_uneven_hosts(self):
    with self.assertRaisesRegex(ValueError, '5 replicas on 2 hosts'):
      pipeline.BatchShare(10, num_hosts=2, num_replicas=5)

  def test_of_input_context(self):
    context = tf.distribute.InputContext(4, 2, 8)
    self.assertEqual(
      dataclasses.asdict(pipeline.BatchShare.of(16, context)),
      {'batch_size': 16, 'num_hosts': 4, 'host': 2, 'num_replicas': 8},
    )


class TrainingTest(PipelineTestCase):
  def test_specification_is_static(self):
    config = self.config(max_labels=3, image_size=(16, 20), mixup_alpha=0.8)
    dataset = pipeline.make_dataset(config, seed=0, is_training=True)
    self.assertEqual(
      dataset.element_spec,
      {
        'image': tf.TensorSpec([8, 16, 20, 3], tf.uint8),
        'label': tf.TensorSpec([8, 3], tf.int32),
        'index': tf.TensorSpec([8], tf.int64),
        'mixup_ratio': tf.TensorSpec([8], tf.float32),
      },
    )

  def test_labels_belong_to_images_and_indices_count(self):
    for step, batch in enumerate(self.train(20)):
      # 0-based: 1 is taken from the stored label. Grey levels survive a crop.
      self.assertAllEqual(batch['label'][:, 0], batch['image'][:, 3, 5, 0])
      self.assertAllEqual(batch['index'], np.arange(8) + 8 * step)

  def test_epochs(self):
    labels = np.concatenate([b['label'][:, 0] for b in self.train(16)])
    self.assertCountEqual(labels[:NUM_TRAIN], range(NUM_TRAIN))
    self.assertCountEqual(labels[NUM_TRAIN : 2 * NUM_TRAIN], range(NUM_TRAIN))
    self.assertNotAllEqual(
      labels[:NUM_TRAIN], labels[NUM_TRAIN : 2 * NUM_TRAIN]
    )

  def test_resumed_run_sees_the_same_pixels(self):
    whole = self.train(24, mixup_alpha=0.2)
    for start_step in (5, 8, 20):
      with self.subTest(start_step):
        tf.random.set_seed(start_step)
        resumed = self.train(
          24 - start_step, mixup_alpha=0.2, start_step=start_step
        )
        self.assert_batches_equal(resumed, whole[start_step:])

  def test_same_over_parallel_calls(self):
    expected = self.train(10)
    for parallel_calls in (1, 4, 16):
      with self.subTest(parallel_calls):
        self.assert_batches_equal(
          self.train(10, parallel_calls=parallel_calls), expected
        )

  def test_seed_decides(self):
    first, second = self.train(3, seed=1), self.train(3, seed=2)
    self.assertNotAllEqual(first[0]['label'], second[0]['label'])

  def test_augmentation_depends_on_the_index_alone(self):
    """Another order of the images leaves the draws where they were."""
    ratios = [b['mixup_ratio'] for b in self.train(6, mixup_alpha=0.8)]
    others = self.train(6, mixup_alpha=0.8, shuffle_buffer=1)
    self.assertAllEqual(ratios, [b['mixup_ratio'] for b in others])

  @parameterized.parameters(((2, 4),), ((4, 4),))
  def test_hosts_and_replicas_share_the_global_batch(self, layout):
    num_hosts, num_replicas = layout
    local = num_replicas // num_hosts
    steps = 4
    indices = np.zeros([steps, num_replicas, 8 // num_replicas], np.int64)
    labels = {}
    for host in range(num_hosts):
      context = tf.distribute.InputContext(num_hosts, host, num_replicas)
      batches = self.train(steps * local, input_context=context)
      for number, batch in enumerate(batches):
        self.assertLen(batch['index'], 8 // num_replicas)
        step, replica = divmod(number, local)
        indices[step, host * local + replica] = batch['index']
      labels[host] = {int(x) for b in batches for x in b['label'][:, 0]}
    # [steps, replicas, batch of a replica] -> [steps x global batch]
    self.assertAllEqual(indices.reshape(-1), np.arange(steps * 8))
    for host in range(1, num_hosts):
      self.assertEmpty(labels[0] & labels[host])

  def test_resumed_host_continues(self):
    context = tf.distribute.InputContext(2, 1, 4)
    whole = self.train(40, input_context=context)
    resumed = self.train(10, input_context=context, start_step=15)
    self.assert_batches_equal(resumed, whole[30:])

  def test_one_host_gives_two_replicas_what_one_gets(self):
    whole = self.train(4)
    context = tf.distribute.InputContext(1, 0, 2)
    halves = self.train(8, input_context=context)
    joined = [
      {key: np.concatenate([a[key], b[key]]) for key in a}
      for a, b in zip(halves[::2], halves[1::2])
    ]
    self.assert_batches_equal(joined, whole)

  def test_distributed_by_a_strategy(self):
    strategy = devices.two_replicas()
    self.assertEqual(strategy.num_replicas_in_sync, 2)
    config = self.config()
    dataset = strategy.distribute_datasets_from_function(
      lambda context: pipeline.make_dataset(
        config, seed=3, is_training=True, input_context=context
      )
    )
    for batch, expected in zip(dataset, self.train(5)):
      for key in expected:
        parts = strategy.experimental_local_results(batch[key])
        self.assertAllEqual(np.concatenate(parts), expected[key])

  def test_randaugment_changes_images_not_labels(self):
    options = {'center_crop': False, 'random_flip': False}
    plain = self.train(6, **options)
    changed = self.train(
      6,
      randaugment=(1, 15),
      # What is left is quick to trace, and changes every grey level.
      randaugment_exclude=[
        op for op in augment.OPERATIONS if op not in ('Invert', 'Posterize')
      ],
      **options,
    )
    differ = 0
    for one, other in zip(plain, changed):
      self.assertAllEqual(one['label'], other['label'])
      differ += np.sum(np.any(one['image'] != other['image'], axis=(1, 2, 3)))
    # One time in three, neither operation is drawn.
    self.assertBetween(differ, 20, 45)

  def test_batch_that_replicas_do_not_divide(self):
    with self.assertRaisesRegex(
      ValueError, r'batch_size is 8, but must be a multiple.*3; the next.*9'
    ):
      self.train(1, input_context=tf.distribute.InputContext(1, 0, 3))

  def test_mixup_needs_even_replicas(self):
    with self.assertRaisesRegex(
      ValueError, 'batch_size is 12.*4 replicas 3 examples.*multiple of 8'
    ):
      self.train(
        1,
        batch_size=12,
        mixup_alpha=0.8,
        input_context=tf.distribute.InputContext(1, 0, 4),
      )

  def test_more_hosts_than_files(self):
    with self.assertRaisesRegex(ValueError, '5 files.*each of 6 hosts'):
      self.train(
        1, input_context=tf.distribute.InputContext(6, 0, 6), batch_size=6
      )

  def test_label_out_of_range_names_file_and_record(self):
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError,
      r'train-0000\d-of-00005, record \d+: label \d+ is out of range: with '
      'num_classes = 50',
    ):
      self.train(20, num_classes=50)

  def test_synthetic(self):
    for batch in self.train(3, source='synthetic', data_dir=None):
      self.assertAllInRange(batch['label'], 0, 99)

  def test_explicit_label_offset(self):
    (batch,) = self.train(1, label_offset=0)
    self.assertAllEqual(batch['label'][:, 0], batch['image'][:, 0, 0, 0] + 1)


class EvaluationTest(PipelineTestCase):
  def evaluate(self, *, input_context=None, **fields):
    """Labels and levels of all examples with a weight, and the steps taken."""
    config = self.config(split='validation', **fields)
    dataset = pipeline.make_dataset(
      config, seed=0, is_training=False, input_context=input_context
    )
    seen = []
    for steps, batch in enumerate(dataset.as_numpy_iterator()):
      weight = batch['weight']
      self.assertAllInSet(weight, [0.0, 1.0])
      if not weight.any():
        self.assertAllEqual(batch['label'], -np.ones_like(batch['label']))
        return seen, steps
      real = weight == 1
      self.assertAllEqual(
        batch['label'][real, 0], batch['image'][real, 7, 7, 0]
      )
      seen += batch['label'][real, 0].tolist()
    raise AssertionError('The stream ended.')

  @parameterized.parameters(1, 8, 64)
  def test_each_example_once(self, batch_size):
    seen, steps = self.evaluate(batch_size=batch_size)
    self.assertCountEqual(seen, range(NUM_VALIDATION))
    self.assertEqual(steps, -(-NUM_VALIDATION // batch_size))

  @parameterized.parameters(2, 3)
  def test_hosts_with_unequal_shares(self, num_hosts):
    seen = []
    for host in range(num_hosts):
      context = tf.distribute.InputContext(num_hosts, host, num_hosts)
      seen += self.evaluate(batch_size=6, input_context=context)[0]
    self.assertCountEqual(seen, range(NUM_VALIDATION))

  def test_specification(self):
    dataset = pipeline.make_dataset(
      self.config(split='validation'), seed=0, is_training=False
    )
    self.assertEqual(
      dataset.element_spec,
      {
        'image': tf.TensorSpec([8, 16, 16, 3], tf.uint8),
        'label': tf.TensorSpec([8, 1], tf.int32),
        'weight': tf.TensorSpec([8], tf.float32),
      },
    )


class MultilabelTest(PipelineTestCase):
  def test_labels_in_training_and_evaluation(self):
    folder = self.create_tempdir().full_path
    examples = [([1, 2, 2], [0.9, 0.8, 0.7]), ([], []), ([9, 5], [0.4, 0.6])]
    write_multilabel(folder, examples)
    fields = {
      'data_dir': folder,
      'schema': 'multilabel',
      'num_classes': 10,
      'max_labels': 3,
      'batch_size': 3,
    }
    expected = [[1, 2, -1], [-1, -1, -1], [9, 5, -1]]
    (batch,) = self.train(1, **fields)
    self.assertCountEqual(batch['label'].tolist(), expected)
    dataset = pipeline.make_dataset(
      self.config(confidence_threshold=0.5, **fields), seed=0, is_training=False
    )
    expected[2] = [5, -1, -1]
    self.assertAllEqual(next(iter(dataset))['label'], expected)

  def test_too_many_labels_name_max_labels(self):
    folder = self.create_tempdir().full_path
    write_multilabel(folder, [([1, 2, 3], None)])
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError, 'record 0: 3 labels, but max_labels = 2'
    ):
      self.train(
        1, data_dir=folder, schema='multilabel', max_labels=2, num_classes=10
      )

  def test_record_of_another_schema(self):
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError, r'record \d+: no image under the key'
    ):
      self.train(1, schema='automl')


if __name__ == '__main__':
  tf.test.main()
