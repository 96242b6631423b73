"""Tests of official_coatnet.data.streams."""

import os
import tempfile
import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import sources, streams
from tests.fixtures import graphs

# Uneven, with empty ones, and more files than are open at once.
COUNTS = (3, 7, 5, 0, 9) + (4,) * 18 + (1, 0)
TOTAL = sum(COUNTS)


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


class StreamsTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.paths = []
    for number, count in enumerate(COUNTS):
      path = os.path.join(folder, f'file-{number:02d}')
      with tf.io.TFRecordWriter(path) as writer:
        for record in range(count):
          writer.write(f'{number}/{record}'.encode())
      cls.paths.append(path)

  def source(self, *, counts=COUNTS):
    return sources.tfrecord_source(self.paths, schema='imagenet', counts=counts)

  def read(self, count, *, source=None, **options):
    options = {'seed': 5, 'shuffle_buffer': 16, **options}
    dataset = streams.training_records(source or self.source(), **options)
    return [
      (
        each['record'].decode(),
        os.path.basename(each['file'].decode()),
        int(each['position']),
      )
      for each in dataset.take(count).as_numpy_iterator()
    ]

  def test_every_record_says_where_it_is_from(self):
    for record, file, position in self.read(TOTAL):
      number, index = map(int, record.split('/'))
      self.assertEqual(file, f'file-{number:02d}')
      self.assertEqual(position, index)

  def test_each_epoch_has_each_record_once_in_a_new_order(self):
    stream = self.read(3 * TOTAL)
    epochs = [stream[i * TOTAL : (i + 1) * TOTAL] for i in range(3)]
    for epoch in epochs:
      self.assertLen(set(epoch), TOTAL)
    self.assertNotEqual(epochs[0], epochs[1])
    self.assertNotEqual(epochs[1], epochs[2])

  def test_order_depends_on_the_seed_alone(self):
    first = self.read(2 * TOTAL)
    tf.random.set_seed(77)
    np.random.seed(1)
    self.assertEqual(self.read(2 * TOTAL), first)
    self.assertNotEqual(self.read(TOTAL, seed=6), first[:TOTAL])

  @parameterized.parameters(1, 16, 1000)
  def test_restart_anywhere_continues(self, shuffle_buffer):
    options = {'shuffle_buffer': shuffle_buffer}
    stream = self.read(3 * TOTAL, **options)
    starts = [1, 15, 16, 17, 64, TOTAL - 1, TOTAL, TOTAL + 1, 2 * TOTAL - 30]
    for start in starts:
      with self.subTest(start):
        self.assertEqual(
          self.read(40, start=start, **options), stream[start : start + 40]
        )

  def test_restart_without_counts_continues(self):
    source = self.source(counts=None)
    stream = self.read(2 * TOTAL)
    for start in (0, 31, TOTAL + 3):
      self.assertEqual(
        self.read(20, source=source, start=start), stream[start : start + 20]
      )

  def test_restart_reads_one_window_only(self):
    """Its cost does not grow with the step, nor with the number of files."""
    reads = []

    @tf.autograph.experimental.do_not_convert
    def open_file(path):
      def generate(name):
        for i in range(100):
          reads.append((name.decode(), i))
          yield f'{name.decode()} {i}'.encode()

      return tf.data.Dataset.from_generator(
        generate, output_signature=tf.TensorSpec([], tf.string), args=(path,)
      )

    num_files = 84
    source = sources.Source(
      files=tuple(f'f{i}' for i in range(num_files)),
      counts=(100,) * num_files,
      first=(0,) * num_files,
      open_file=open_file,
      parse=lambda record: {},
      label_offset=0,
      single_label=True,
    )
    epoch = 100 * num_files
    # The last group has four files. In epoch 0, in epoch 5, and much later.
    for start in (8100, 5 * epoch + 8100, 90_000 * epoch + 8100):
      with self.subTest(start):
        reads.clear()
        dataset = streams.training_records(
          source, seed=0, shuffle_buffer=10, start=start
        )
        for _ in dataset.take(1):
          pass
        self.assertLen({name for name, _ in reads}, 4)
        # 25 of each file are used up and skipped, undecoded; then a window,
        # the one made ahead, and what the readers hold.
        self.assertBetween(len(reads), 4 * 25 + 1, 4 * 25 + 2 * 10 + 60)

  def test_windows_mix_neighbours(self):
    """Shuffling reaches as far as the window, no further."""
    plain = self.read(TOTAL, shuffle_buffer=1)
    mixed = self.read(TOTAL, shuffle_buffer=16)
    for start in range(0, TOTAL, 16):
      self.assertCountEqual(
        mixed[start : start + 16], plain[start : start + 16]
      )
    self.assertNotEqual(mixed, plain)

  def test_shuffling_is_even(self):
    """Each record of a window comes to each place as often."""
    num_windows = 800
    path = os.path.join(self.create_tempdir(), 'one')
    with tf.io.TFRecordWriter(path) as writer:
      for i in range(8 * num_windows):
        writer.write(str(i).encode())
    source = sources.tfrecord_source(
      [path], schema='imagenet', counts=[8 * num_windows]
    )
    stream = self.read(8 * num_windows, source=source, shuffle_buffer=8)
    table = np.zeros([8, 8])
    for place, (record, _, _) in enumerate(stream):
      table[place % 8, int(record) % 8] += 1
    # Binomial(800, 1/8): deviation 9.35.
    self.assertAllInRange(table, 100 - 45, 100 + 45)

  def test_evaluation_is_in_order_of_files_and_complete(self):
    dataset = streams.evaluation_records(self.source())
    stream = [each['record'].decode() for each in dataset.as_numpy_iterator()]
    self.assertLen(set(stream), TOTAL)
    self.assertLen(stream, TOTAL)
    self.assertEqual(
      stream, [e['record'].decode() for e in dataset.as_numpy_iterator()]
    )

  @parameterized.parameters(2, 5)
  def test_hosts_are_disjoint_and_complete(self, num_hosts):
    seen = []
    for host in range(num_hosts):
      source = self.source().shard(num_hosts, host)
      stream = self.read(source.num_examples, source=source)
      self.assertLen(set(stream), source.num_examples)
      seen += stream
    self.assertLen(seen, TOTAL)
    self.assertLen(set(seen), TOTAL)

  def test_no_records_do_not_hang(self):
    source = sources.tfrecord_source(
      self.paths[3:4], schema='imagenet', counts=[0]
    )
    with self.assertRaisesRegex(ValueError, 'file-03 on have no examples'):
      self.read(1, source=source)
    self.assertEmpty(list(streams.evaluation_records(source)))

  def test_part_of_a_file(self):
    source = sources.Source(
      files=(self.paths[1], self.paths[4]),
      counts=(2, 5),
      first=(4, 0),
      open_file=tf.data.TFRecordDataset,
      parse=lambda record: {},
      label_offset=0,
      single_label=True,
    )
    expected = ['1/4', '1/5', *(f'4/{i}' for i in range(5))]
    stream = self.read(14, source=source)
    self.assertCountEqual([each[0] for each in stream[:7]], expected)
    for record, _, position in stream:
      self.assertEqual(int(record.split('/')[1]), position)
    self.assertEqual(self.read(7, source=source, start=7), stream[7:])


if __name__ == '__main__':
  tf.test.main()
