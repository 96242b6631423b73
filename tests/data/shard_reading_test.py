"""Tests of official_coatnet.data.shard_reading, through streams."""

import os
import re
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import messages, sources, streams

# Of each file: five records of 100 bytes, which take 116 in the file.
RECORDS = 5
FRAME = 116


def damage_nothing(content):
  return content


def damage_data(content):
  """A flipped bit within the fourth record."""
  place = 3 * FRAME + 50
  return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def damage_length(content):
  """A flipped bit in the length of the fourth record."""
  place = 3 * FRAME
  return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def cut_data(content):
  return content[: 3 * FRAME + 50]


def cut_header(content):
  return content[: 3 * FRAME + 7]


def cut_between(content):
  return content[: 3 * FRAME]


def empty(content):
  del content
  return b''


class ShardsTest(parameterized.TestCase, tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.folder = folder
    for name in ('a', 'b', 'c'):
      with tf.io.TFRecordWriter(os.path.join(folder, name)) as writer:
        for number in range(RECORDS):
          writer.write(f'{name}{number}'.encode().ljust(100))

  def source(self, damage, *, with_counts=True):
    """Three files, the second of which is damaged."""
    with open(os.path.join(self.folder, 'b'), 'rb') as file:
      content = damage(file.read())
    self.bad = os.path.join(self.create_tempdir().full_path, 'bad[1]*')
    with open(self.bad, 'wb') as file:
      file.write(content)
    return sources.tfrecord_source(
      [
        os.path.join(self.folder, 'a'),
        self.bad,
        os.path.join(self.folder, 'c'),
      ],
      schema='imagenet',
      counts=[RECORDS] * 3 if with_counts else None,
    )

  def read(self, dataset, count=None):
    """Reads to the end, to a message or to an error, which comes last."""
    seen = []
    try:
      for each in dataset.take(count or -1):
        if messages.is_message(each['record']):
          place = f'{each["file"].numpy().decode()}, record {each["position"]}'
          return [*seen, f'{place} {messages.text(each["record"])}']
        seen.append(each['record'].numpy()[:2].decode())
    except tf.errors.OpError as error:
      seen.append(error)
    return seen

  @parameterized.product(
    damage=[damage_data, damage_length, cut_data, cut_header],
    with_counts=[True, False],
  )
  def test_damage_has_a_place(self, damage, with_counts):
    source = self.source(damage, with_counts=with_counts)
    *seen, error = self.read(streams.evaluation_records(source))
    self.assertIn(f'{self.bad}, record 3 ', error)
    self.assertIn(
      'should have 5 records' if with_counts else f'at byte {3 * FRAME} cannot',
      error,
    )
    # What comes before it is there.
    self.assertContainsSubset(['b0', 'b1', 'b2'], seen)

  @parameterized.parameters((cut_between, 3), (empty, 0))
  def test_file_that_ends_early(self, damage, record):
    """Only the number of records tells: the file itself looks whole."""
    source = self.source(damage)
    error = self.read(streams.evaluation_records(source))[-1]
    self.assertIn(f'{self.bad}, record {record} ', error)
    self.assertLen(
      self.read(
        streams.evaluation_records(self.source(damage, with_counts=False))
      ),
      10 + record,
    )

  @parameterized.parameters(True, False)
  def test_whole_files(self, with_counts):
    source = self.source(damage_nothing, with_counts=with_counts)
    seen = self.read(streams.evaluation_records(source))
    self.assertLen(set(seen), 3 * RECORDS)

  @parameterized.parameters(
    (damage_data, True), (cut_header, False), (empty, True)
  )
  def test_training_stops(self, damage, with_counts):
    source = self.source(damage, with_counts=with_counts)
    stream = streams.training_records(source, seed=1, shuffle_buffer=4)
    *seen, error = self.read(stream, 100)
    self.assertLess(len(seen), 3 * RECORDS)
    self.assertRegex(error, re.escape(self.bad) + ', record [03] ')

  def test_resumed_behind_the_damage(self):
    """The number of a record does not depend on where reading began."""
    source = self.source(cut_data)
    # Records a0 b0 c0 a1 b1 c1 ...: the first eight are left out.
    plain = streams.training_records(source, seed=1, shuffle_buffer=1, start=8)
    error = self.read(plain, 100)[-1]
    self.assertIn(f'{self.bad}, record 3 ', error)

  @parameterized.parameters(True, False)
  def test_missing_file_does_not_hang(self, with_counts):
    source = self.source(damage_nothing, with_counts=with_counts)
    os.remove(self.bad)
    error = self.read(streams.evaluation_records(source))[-1]
    self.assertIsInstance(error, tf.errors.NotFoundError)
    self.assertIn(self.bad, error.message)

  def test_file_that_is_no_record_file(self):
    source = self.source(lambda content: b'image,label\n' * 50)
    error = self.read(streams.evaluation_records(source))[-1]
    self.assertIn(f'{self.bad}, record 0 ', error)


class CompressedTest(parameterized.TestCase, tf.test.TestCase):
  """Files of five records of noise, which a compression leaves as they are."""

  def setUp(self):
    super().setUp()
    self.path = os.path.join(self.create_tempdir().full_path, 'a')
    noise = np.random.default_rng(0)
    self.records = [noise.bytes(50_000) for _ in range(RECORDS)]

  def write(self, compression):
    options = tf.io.TFRecordOptions(compression_type=compression)
    with tf.io.TFRecordWriter(self.path, options) as writer:
      for record in self.records:
        writer.write(record)

  def read(self, compression, *, with_counts, start=0):
    source = sources.tfrecord_source(
      [self.path],
      schema='imagenet',
      counts=[RECORDS] if with_counts else None,
      compression=compression,
    )
    if start:
      records = streams.training_records(
        source, seed=1, shuffle_buffer=1, start=start
      ).take(RECORDS - start)
    else:
      records = streams.evaluation_records(source)
    return [(int(each['position']), each['record'].numpy()) for each in records]

  @parameterized.product(
    compression=['GZIP', 'ZLIB'], with_counts=[True, False]
  )
  def test_whole(self, compression, with_counts):
    self.write(compression)
    seen = self.read(compression, with_counts=with_counts)
    self.assertEqual(seen, list(enumerate(self.records)))
    later = self.read(compression, with_counts=with_counts, start=3)
    self.assertEqual([each for _, each in later], self.records[3:])

  @parameterized.product(cut=[True, False], with_counts=[True, False])
  def test_damage_has_a_place(self, cut, with_counts):
    self.write('GZIP')
    with open(self.path, 'rb') as file:
      content = bytearray(file.read())
    content[180_000] ^= 1  # In the fourth record.
    with open(self.path, 'wb') as file:
      file.write(content[:180_000] if cut else content)
    *seen, (position, last) = self.read('GZIP', with_counts=with_counts)
    self.assertEqual([each for _, each in seen], self.records[: len(seen)])
    message = tf.constant(last)
    self.assertTrue(messages.is_message(message))
    self.assertStartsWith(messages.text(message).numpy(), b'cannot be read')
    # What one step of inflate gives comes whole or not at all.
    (self.assertEqual if cut else self.assertLessEqual)(position, 3)


if __name__ == '__main__':
  tf.test.main()
