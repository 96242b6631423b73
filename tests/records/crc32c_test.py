"""Tests of official_coatnet.records.crc32c."""

import numpy as np
from absl.testing import absltest, parameterized

from official_coatnet.records import crc32c


def bit_by_bit(data):
  """CRC-32C as its definition says."""
  state = 0xFFFFFFFF
  for byte in data:
    state ^= byte
    for _ in range(8):
      state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
  return state ^ 0xFFFFFFFF


def random_bytes(number):
  return np.random.RandomState(number).bytes(number)


class Crc32cTest(parameterized.TestCase):
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
    self.assertEqual(crc32c.Crc32c().checksum(data), expected)

  @parameterized.parameters(1, 2, 3, 4, 5, 1023, 1024, 1025, 4096, 70001)
  def test_any_length(self, number):
    data = random_bytes(number)
    self.assertEqual(crc32c.Crc32c().checksum(data), bit_by_bit(data))

  def test_masked(self):
    data = random_bytes(50)
    crc = bit_by_bit(data)
    expected = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
    self.assertEqual(crc32c.Crc32c().masked(data), expected)

  def test_windows(self):
    data, crc = random_bytes(40), crc32c.Crc32c()
    self.assertEqual(
      crc.masked_windows(data).tolist(),
      [crc.masked(data[start : start + 8]) for start in range(33)],
    )
    self.assertEmpty(crc.masked_windows(b'seven..'))


if __name__ == '__main__':
  absltest.main()
