"""Tests of official_coatnet.data.sketch."""

import hashlib
import json

import numpy as np
import tensorflow as tf

from official_coatnet.data import sketch


def draw(count, *, seed):
  """Checksums of so many images: int64 would not hold half of them."""
  return np.random.default_rng(seed).integers(
    1, 2**64, count, dtype=np.uint64, endpoint=False
  )


class SketchTest(tf.test.TestCase):
  def test_hash_is_the_head_of_sha256(self):
    digest = hashlib.sha256(b'image').hexdigest()
    self.assertEqual(sketch.checksum(b'image'), int(digest[:16], 16))
    self.assertEqual(sketch.checksum(b''), 0)

  def test_few_images_are_all_known(self):
    made = sketch.make([draw(100, seed=0), draw(100, seed=0), draw(3, seed=1)])
    expected = {*draw(100, seed=0).tolist(), *draw(3, seed=1).tolist()}
    self.assertEqual(made, sketch.Sketch(tuple(sorted(expected)), True))
    self.assertEqual(sketch.make([]), sketch.Sketch((), True))

  def test_of_many_images_the_smallest_in_any_parts(self):
    hashes = draw(3 * sketch.SIZE, seed=0)
    made = sketch.make(np.split(hashes, 3))
    self.assertFalse(made.complete)
    self.assertEqual(list(made.hashes), sorted(hashes.tolist())[: sketch.SIZE])
    self.assertEqual(made, sketch.make([hashes[::-1]]))

  def test_round_trip(self):
    for count in (0, 5, sketch.SIZE + 1):
      made = sketch.make([draw(count, seed=2)])
      fields = json.loads(json.dumps(made.to_fields()))
      self.assertEqual(sketch.Sketch.from_fields(fields), made)
    self.assertIsNone(sketch.Sketch.from_fields(None))
    with self.assertRaises(ValueError):
      sketch.Sketch.from_fields({'hashes': '#', 'complete': True})

  def test_small_splits_are_compared_exactly(self):
    first, second = draw(1000, seed=0), draw(500, seed=1)
    second[:3] = first[:3]
    overlap = sketch.compare(sketch.make([first]), sketch.make([second]))
    self.assertEqual(overlap.hashes, tuple(sorted(first[:3].tolist())))
    self.assertEqual((overlap.share, overlap.num_images), (1, 3))

  def test_large_splits_by_a_share(self):
    # 4,096 of 40,960 images: a tenth of what is shared is seen.
    first, second = draw(40_960, seed=0), draw(8000, seed=1)
    second[:2000] = first[:2000]
    overlap = sketch.compare(sketch.make([first]), sketch.make([second]))
    self.assertAllClose(overlap.share, 0.1, rtol=0.05)
    expected = [each for each in first[:2000] if each < overlap.share * 2**64]
    self.assertEqual(list(overlap.hashes), sorted(int(x) for x in expected))
    # Binomial(2000, 0.1): deviation 13.4, so that of the estimate is 134.
    self.assertBetween(overlap.num_images, 1500, 2500)

  def test_nothing_is_shared(self):
    overlap = sketch.compare(
      sketch.make([draw(40_000, seed=0)]), sketch.make([draw(9000, seed=1)])
    )
    self.assertEmpty(overlap.hashes)
    self.assertEqual(overlap.num_images, 0)


if __name__ == '__main__':
  tf.test.main()
