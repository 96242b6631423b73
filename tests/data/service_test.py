"""Tests of official_coatnet.data.service: a dispatcher, workers, a client."""

import collections
import os
import subprocess
import sys
import unittest

import tensorflow as tf

from official_coatnet.data import pipeline, schema, service, sources
from official_coatnet.records import writing
from tests.fixtures import graphs

NUM_EXAMPLES = 60
NUM_SHARDS = 6
# What the servers run: nothing of this package. They end with their parent, who
# holds the other end of stdin, and do not wait for one another.
DISPATCHER = """
import os, sys
from tensorflow.data.experimental import service
server = service.DispatchServer()
print(server.target, flush=True)
sys.stdin.read()
os._exit(0)
"""
WORKER = """
import os, sys
from tensorflow.data.experimental import service
target = sys.stdin.readline().strip()
server = service.WorkerServer(
  service.WorkerConfig(
    dispatcher_address=target.split('://')[1], heartbeat_interval_ms=500
  )
)
print('ready', flush=True)
sys.stdin.read()
os._exit(0)
"""


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def write(folder):
  def make_shard(shard):
    for i in writing.shard_range(shard, NUM_SHARDS, num_examples=NUM_EXAMPLES):
      image = tf.fill([10, 10, 3], tf.cast(i, tf.uint8))
      record = schema.serialize_imagenet(
        tf.io.encode_png(image).numpy(), label=i + 1, height=10, width=10
      )
      yield writing.Record(record, [i + 1])

  writing.write_split(
    make_shard,
    folder,
    split='train',
    num_shards=NUM_SHARDS,
    schema='imagenet',
    num_classes=NUM_EXAMPLES,
    label_offset=-1,
  )


class ServiceTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    write(self.folder)

  def spawn(self, code):
    process = subprocess.Popen(
      [sys.executable, '-c', code],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
    )

    def end():
      process.kill()
      process.communicate()

    self.addCleanup(end)
    return process

  def start(self, num_workers):
    """Starts a dispatcher and workers, each in a process of its own.

    Returns:
      The address of the dispatcher.
    """
    # All of them import TensorFlow at the same time.
    dispatcher, *workers = [
      self.spawn(code) for code in [DISPATCHER] + num_workers * [WORKER]
    ]
    target = dispatcher.stdout.readline().strip()
    self.assertStartsWith(target, 'grpc://')
    for worker in workers:
      print(target, file=worker.stdin, flush=True)
    for worker in workers:
      self.assertEqual(worker.stdout.readline().strip(), 'ready')
    return target

  def config(self, **fields):
    return pipeline.DataConfig(
      num_classes=NUM_EXAMPLES,
      image_size=8,
      batch_size=4,
      data_dir=self.folder,
      shuffle_buffer=8,
      **fields,
    )

  def test_every_example_of_an_epoch_comes(self):
    config = self.config(
      data_service=self.start(num_workers=2), mixup_alpha=0.2
    )
    for host in range(2):
      # Of two hosts, each has a job of its own.
      dataset = pipeline.make_dataset(
        config,
        seed=1,
        is_training=True,
        input_context=tf.distribute.InputContext(2, host, 2),
      )
      # Until the first three epochs have come, of 30 examples each. They are
      # mixed with those that follow: with a few, or with many while the machine
      # is busy and one of the workers has to wait.
      seen = collections.Counter()
      missing = set(range(90))
      for batch in dataset.take(50_000).as_numpy_iterator():
        self.assertLen(batch['label'], 2)
        # Labels belong to images.
        self.assertAllEqual(batch['label'][:, 0], batch['image'][:, 4, 4, 0])
        for index, label in zip(batch['index'], batch['label'][:, 0]):
          seen[int(index), int(label)] += 1
          missing.discard(index // 2)
        if not missing:
          break
      self.assertEmpty(missing)
      # No example of an epoch comes twice, and each has a number of its own.
      self.assertEqual(set(seen.values()), {1})
      numbers = {index for index, _ in seen}
      self.assertLen(numbers, len(seen))
      self.assertEqual({index % 2 for index in numbers}, {host})
      # The files of this host, every second one, and all that is in them.
      labels = {label for _, label in seen}
      expected = {
        label
        for shard in range(host, NUM_SHARDS, 2)
        for label in writing.shard_range(
          shard, NUM_SHARDS, num_examples=NUM_EXAMPLES
        )
      }
      self.assertEqual(labels, expected)

  def test_the_data_set_of_a_worker(self):
    """What a worker would read if it were the only one."""
    source = sources.tfrecord_source(
      sorted(
        os.path.join(self.folder, name)
        for name in os.listdir(self.folder)
        if name.startswith('train-')
      ),
      schema='imagenet',
      counts=[NUM_EXAMPLES // NUM_SHARDS] * NUM_SHARDS,
    )
    stream = service.training_records(
      source, seed=1, shuffle_buffer=1, start=NUM_EXAMPLES + 7
    )
    stream = stream.map(
      lambda number, each: (number, each['file'], each['position'])
    )
    places = {}
    for number, file, position in stream.take(150).as_numpy_iterator():
      # The second epoch is begun anew.
      self.assertGreaterEqual(number, NUM_EXAMPLES)
      place = number % NUM_EXAMPLES
      self.assertEqual(
        places.setdefault(place, (file, position)), (file, position)
      )
      self.assertEqual(position, place % 10)
    self.assertLen(places, NUM_EXAMPLES)

  def test_evaluation_does_not_go_through_it(self):
    config = self.config(data_service='grpc://localhost:1', split='train')
    dataset = pipeline.make_dataset(config, seed=0, is_training=False)
    labels = [
      label
      for batch in dataset.take(NUM_EXAMPLES // 4).as_numpy_iterator()
      for label in batch['label'][:, 0]
    ]
    self.assertCountEqual(labels, range(NUM_EXAMPLES))

  def test_unknown_length_of_an_epoch(self):
    config = self.config(
      data_service='grpc://localhost:1', file_pattern='train-*'
    )
    with self.assertRaisesRegex(
      ValueError, 'data_service is set.*not known.*tfrecords.py index'
    ):
      pipeline.make_dataset(config, seed=0, is_training=True)


if __name__ == '__main__':
  tf.test.main()
