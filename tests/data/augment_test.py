"""Tests of official_coatnet.data.augment."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from official.vision.ops import augment as reference
from scipy import stats

from official_coatnet.data import augment, augment_ops


def make_image(height, width):
  rng = np.random.default_rng(0)
  # No 0 and no 128: what Cutout and grey leave is told apart.
  values = np.setdiff1d(np.arange(1, 256), [128]).astype(np.uint8)
  return rng.choice(values, (height, width, 3))


def without(*kept):
  return [op for op in augment.OPERATIONS if op not in kept]


def apply_to_seeds(randaugment, image, count, *, parallel_calls=1):
  """Results for the seeds (3, 0), (3, 1), ..., through tf.data."""
  dataset = tf.data.Dataset.range(count).map(
    lambda i: randaugment(
      tf.constant(image), seed=tf.stack([tf.constant(3, tf.int64), i])
    ),
    num_parallel_calls=parallel_calls,
  )
  return next(dataset.batch(count).as_numpy_iterator())


def model_garden(operation, magnitude, image):
  """All results, by pixels, that Model Garden has for one operation."""
  image = tf.constant(image)
  function = reference.NAME_TO_FUNC[operation]
  arguments = reference.level_to_arg(40.0, 100.0)[operation](float(magnitude))
  if operation == 'Contrast':  # Later Model Gardens have another: see golden.
    return [augment_ops.contrast(image, arguments[0])]
  if operation in reference.REPLACE_FUNCS:
    value = abs(tf.constant(arguments[0]))
    return [function(image, sign * value, [128] * 3) for sign in (1, -1)]
  return [function(image, *arguments)]


class RandAugmentTest(parameterized.TestCase, tf.test.TestCase):
  def test_operations_are_model_gardens(self):
    self.assertEqual(
      tuple(reference.RandAugment().available_ops), augment.OPERATIONS
    )

  @parameterized.parameters('reflect', 'grey')
  def test_shape_and_type(self, fill):
    dataset = tf.data.Dataset.from_tensors(make_image(20, 30)).map(
      lambda image: augment.RandAugment(2, 15, fill=fill)(image, seed=[0, 0])
    )
    self.assertEqual(dataset.element_spec, tf.TensorSpec([20, 30, 3], tf.uint8))

  def test_operations_directions_and_odds(self):
    """Each of 17 outcomes 1 time in 17, with Model Garden's pixels."""
    image, magnitude, count = make_image(18, 28), 12, 3400
    names = {image.tobytes(): 'none'}
    for operation in without('Cutout'):
      for outcome in model_garden(operation, magnitude, image):
        names[outcome.numpy().tobytes()] = operation
    # All differ: 5 geometric operations have two directions.
    self.assertEqual(len(names), 1 + 15 + 5)  # assertLen would print them.
    counts = dict.fromkeys(names, 0)
    cutouts = []
    results = apply_to_seeds(augment.RandAugment(1, magnitude), image, count)
    for result in results:
      key = result.tobytes()
      if key in counts:
        counts[key] += 1
      else:
        cutouts.append(result)
    for result in cutouts:
      self.assertAllEqual(
        result[result != image], result[result != image] | 128
      )
      self.assertTrue((result[(result != image).any(-1)] == 128).all())
    by_name = {name: 0 for name in names.values()} | {'Cutout': len(cutouts)}
    for key, number in counts.items():
      by_name[names[key]] += number
    self.assertLen(by_name, 17)
    self.assertGreater(stats.chisquare(list(by_name.values())).pvalue, 1e-3)
    for operation in ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY'):
      both = [counts[k] for k in names if names[k] == operation]
      self.assertGreater(stats.binomtest(both[0], sum(both)).pvalue, 1e-3)

  def test_exclude_ops(self):
    image = make_image(8, 8)
    randaugment = augment.RandAugment(
      1, 15, exclude_ops=without('Invert', 'Solarize')
    )
    results = apply_to_seeds(randaugment, image, 300)
    inverted = (results == 255 - image).all(axis=(1, 2, 3))
    unchanged = (results == image).all(axis=(1, 2, 3))
    for share in (inverted, unchanged, ~(inverted | unchanged)):
      self.assertGreater(stats.binomtest(share.sum(), 300, 1 / 3).pvalue, 1e-3)

  def test_layers_follow_each_other(self):
    image = make_image(8, 8)
    randaugment = augment.RandAugment(2, 15, exclude_ops=without('Invert'))
    results = apply_to_seeds(randaugment, image, 400)
    # Two of two or none of two give the image back.
    unchanged = (results == image).all(axis=(1, 2, 3))
    self.assertGreater(stats.binomtest(unchanged.sum(), 400).pvalue, 1e-3)

  def test_is_a_function_of_the_seed(self):
    image = make_image(24, 32)
    randaugment = augment.RandAugment(2, 15)
    first = apply_to_seeds(randaugment, image, 64)
    self.assertGreater(len({result.tobytes() for result in first}), 32)
    for calls in (4, 16):
      again = apply_to_seeds(randaugment, image, 64, parallel_calls=calls)
      self.assertAllEqual(again, first)
    eager = [randaugment(image, seed=[3, i]) for i in range(16)]
    self.assertAllEqual(eager, first[:16])

  @parameterized.parameters((5, 50), (15, 150), (20, 200))
  def test_translates_by_the_papers_pixels(self, magnitude, pixels):
    image = make_image(4, 224)
    randaugment = augment.RandAugment(
      1, magnitude, exclude_ops=without('TranslateX')
    )
    wide = np.pad(image, [(0, 0), (224, 224), (0, 0)], mode='symmetric')
    expected = [
      image,
      wide[:, 224 - pixels : 448 - pixels],
      wide[:, 224 + pixels : 448 + pixels],
    ]
    results = apply_to_seeds(randaugment, image, 24)
    self.assertEqual(
      {result.tobytes() for result in results},
      {each.tobytes() for each in expected},
    )

  def test_grey_fill(self):
    image = make_image(4, 224)
    randaugment = augment.RandAugment(
      1, 15, exclude_ops=without('TranslateX'), fill='grey'
    )
    wide = np.pad(image, [(0, 0), (224, 224), (0, 0)], constant_values=128)
    expected = [image, wide[:, 74:298], wide[:, 374:598]]
    results = apply_to_seeds(randaugment, image, 24)
    self.assertEqual(
      {result.tobytes() for result in results},
      {each.tobytes() for each in expected},
    )

  def test_cutout_centres_are_spread_over_the_image(self):
    image = make_image(200, 300)
    # int(0.3 * 40) = 12: squares of 24 pixels.
    randaugment = augment.RandAugment(1, 3, exclude_ops=without('Cutout'))
    grey = (apply_to_seeds(randaugment, image, 600) == 128).all(axis=-1)
    grey = grey[grey.any(axis=(1, 2))]
    rows, columns = grey.any(axis=2), grey.any(axis=1)
    self.assertEqual(rows.sum(axis=1).max(), 24)
    self.assertEqual(columns.sum(axis=1).max(), 24)
    for lines, size in ((rows, 200), (columns, 300)):
      first = lines.argmax(axis=1)
      # A centre within 12 of the top starts at 0.
      expected = np.maximum(np.arange(size) - 12, 0)
      distance = stats.ks_2samp(first, expected).pvalue
      self.assertGreater(distance, 1e-3)

  @parameterized.parameters(
    ([8, 8, 3], 'float32', 'float32'),
    ([8, 8, 1], 'uint8', r'\(8, 8, 1\)'),
    ([2, 8, 8, 3], 'uint8', r'\(2, 8, 8, 3\)'),
  )
  def test_image_errors(self, shape, dtype, message):
    with self.assertRaisesRegex(ValueError, f'{message}.*must be uint8'):
      augment.RandAugment(2, 15)(tf.zeros(shape, dtype), seed=[0, 0])

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, "exclude_ops names.*'Flip'"):
      augment.RandAugment(2, 15, exclude_ops=['Flip'])
    with self.assertRaisesRegex(ValueError, 'names every operation'):
      augment.RandAugment(2, 15, exclude_ops=augment.OPERATIONS)
    with self.assertRaisesRegex(ValueError, 'num_layers is 0'):
      augment.RandAugment(0, 15)
    with self.assertRaisesRegex(ValueError, 'magnitude -1'):
      augment.RandAugment(2, -1)
    with self.assertRaisesRegex(ValueError, "fill is 'black'.*'reflect'"):
      augment.RandAugment(2, 15, fill='black')


class SampleBetaTest(parameterized.TestCase, tf.test.TestCase):
  @parameterized.parameters(0.1, 0.8, 4.0)
  def test_distribution(self, alpha):
    sample = tf.function(
      lambda index: augment.sample_beta(alpha, seed=tf.stack([7, index]))
    )
    draws = tf.map_fn(
      sample, tf.range(3000), fn_output_signature=tf.float32
    ).numpy()
    # Kolmogorov's distance, away from the ends, where a float32 is 0 or 1.
    grid = np.linspace(0.001, 0.999, 499)
    empirical = np.searchsorted(np.sort(draws), grid) / len(draws)
    distance = np.abs(empirical - stats.beta(alpha, alpha).cdf(grid)).max()
    self.assertLess(distance, 1.95 / len(draws) ** 0.5)  # Chance: 1 in 1000.
    # What tells it from the uniform distribution that Model Garden draws from.
    self.assertAllClose(draws.std(), stats.beta(alpha, alpha).std(), atol=0.015)

  def test_tiny_alpha_is_finite(self):
    draws = [
      augment.sample_beta(1e-3, seed=tf.constant([0, i])).numpy()
      for i in range(50)
    ]
    self.assertAllInRange(draws, 0.0, 1.0)
    self.assertBetween(np.mean(np.array(draws) > 0.5), 0.2, 0.8)


if __name__ == '__main__':
  tf.test.main()
