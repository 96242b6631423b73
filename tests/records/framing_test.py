"""Tests of official_coatnet.records.framing."""

import io
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import file_kinds
from official_coatnet.records import framing

SIZES = (300, 0, 1, 1500, 40, 7)
RECORDS = [np.random.RandomState(i).bytes(n) for i, n in enumerate(SIZES)]
# Where the records begin: 12 bytes of header and 4 of checksum each.
STARTS = [sum(SIZES[:i]) + 16 * i for i in range(len(SIZES) + 1)]


class FramingTest(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    # As TensorFlow writes it.
    path = os.path.join(self.create_tempdir(), 'file')
    with tf.io.TFRecordWriter(path) as writer:
      for record in RECORDS:
        writer.write(record)
    with open(path, 'rb') as file:
      self.whole = file.read()

  def read(self, contents):
    file = io.BytesIO(contents)
    return list(framing.read_frames(file, size=len(contents)))

  def check_others_intact(self, frames, *, lost):
    intact = {each.offset: each.data for each in frames if not each.problem}
    self.assertEqual(
      intact,
      {STARTS[i]: each for i, each in enumerate(RECORDS) if i not in lost},
    )

  def test_whole_file(self):
    frames = self.read(self.whole)
    self.assertEqual([each.data for each in frames], RECORDS)
    self.assertEqual([each.offset for each in frames], STARTS[:-1])
    self.assertEqual(self.read(b''), [])

  @parameterized.product(
    index=(0, 1, 3, 5),
    # In the length, its checksum, and the checksum of the data.
    place=(0, 7, 8, 11, -1),
  )
  def test_flipped_bit_loses_its_record_alone(self, index, place):
    contents = bytearray(self.whole)
    start = STARTS[index] if place >= 0 else STARTS[index + 1]
    contents[start + place] ^= 0x10
    frames = self.read(bytes(contents))
    self.check_others_intact(frames, lost=[index])
    (damaged,) = [each for each in frames if each.problem]
    self.assertEqual(damaged.offset, STARTS[index])
    what = 'header damaged' if place >= 0 else 'data damaged'
    self.assertRegex(damaged.problem, what)

  def test_every_bit_of_a_record(self):
    for bit in range(0, 8 * 1500, 997):
      contents = bytearray(self.whole)
      contents[STARTS[3] + 12 + bit // 8] ^= 1 << bit % 8
      frames = self.read(bytes(contents))
      self.check_others_intact(frames, lost=[3])
      self.assertLen(frames, len(RECORDS))

  @parameterized.parameters(
    (STARTS[5] + 5, [5], 'header cut off, 5 of 12'),
    (STARTS[3] + 100, [3, 4, 5], 'data cut off, 88 of 1504'),
    (STARTS[6] - 1, [5], 'data cut off, 10 of 11'),
    (STARTS[4], [4, 5], None),
  )
  def test_cut_off(self, length, lost, problem):
    frames = self.read(self.whole[:length])
    self.check_others_intact(frames, lost=lost)
    problems = [each.problem for each in frames if each.problem]
    if problem is None:
      self.assertEmpty(problems)  # Only a manifest can know.
    else:
      (found,) = problems
      self.assertRegex(found, problem)

  def test_missing_bytes_in_the_middle(self):
    contents = self.whole[: STARTS[3] + 50] + self.whole[STARTS[3] + 60 :]
    frames = self.read(contents)
    intact = [each.data for each in frames if not each.problem]
    self.assertEqual(intact, RECORDS[:3] + RECORDS[4:])

  def test_rubbish_between_records(self):
    contents = (
      self.whole[: STARTS[3]] + bytes(3 << 20) + self.whole[STARTS[3] :]
    )
    frames = self.read(contents)
    self.assertEqual([each.data for each in frames if each.data], [
      each for each in RECORDS if each
    ])  # fmt: skip
    self.assertLen([each for each in frames if each.problem], 1)


def bit_by_bit(data):
  """CRC-32C as its definition says."""
  state = 0xFFFFFFFF
  for byte in data:
    state ^= byte
    for _ in range(8):
      state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
  return state ^ 0xFFFFFFFF


def masked(crc):
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def random_bytes(number):
  return np.random.RandomState(number).bytes(number)


class ChecksumTest(parameterized.TestCase):
  @parameterized.parameters(
    # RFC 3720, appendix B.4.
    (bytes(32), 0x8A9136AA),
    (b'\xff' * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b'123456789', 0xE3069283),
    (b'', 0),
  )
  def test_published_values(self, data, expected):
    self.assertEqual(file_kinds.masked_crc32c(data), masked(expected))

  @parameterized.parameters(1, 2, 3, 4, 5, 1023, 1024, 1025, 4096, 70001)
  def test_any_length(self, number):
    data = random_bytes(number)
    self.assertEqual(file_kinds.masked_crc32c(data), masked(bit_by_bit(data)))

  def test_windows(self):
    data = random_bytes(40)
    self.assertEqual(
      framing.masked_windows(data).tolist(),
      [masked(bit_by_bit(data[start : start + 8])) for start in range(33)],
    )
    self.assertEmpty(framing.masked_windows(b'seven..'))


if __name__ == '__main__':
  tf.test.main()
