"""Tests of the list of published weights: it fits the networks it names."""

from absl.testing import absltest, parameterized

from official_coatnet.modeling import complexity, config as config_lib, sizes
from official_coatnet.pretrained import published


class PublishedTest(parameterized.TestCase):
  def test_all_that_are_published(self):
    rows = published.PUBLISHED.values()
    timm = [row for row in rows if row.origin == published.TIMM]
    self.assertLen(timm, 15)
    self.assertLen([row for row in timm if row.top1 is None], 4)
    self.assertLen(rows, 17)
    self.assertEqual(
      max(row.top1 for row in rows if row.top1 is not None), 87.388
    )

  @parameterized.parameters(
    'timm/coatnet_nano_rw_224.sw_in1k',
    'timm/coatnet_0_rw_224.sw_in1k',
    'timm/coatnet_rmlp_1_rw2_224.sw_in12k',
    'kecam/coatnet0_160_imagenet',
  )
  def test_parameters_are_as_published(self, name):
    row = published.PUBLISHED[name]
    config = config_lib.ModelConfig(
      row.model, image_size=row.image_size, num_classes=row.num_classes
    )
    params = complexity.count(config)[-1].params / 1e6
    # Biases that are zero there, and tables in place of MLPs.
    self.assertLess(abs(params / row.parameters - 1), 2e-3)

  def test_names_of_the_classes(self):
    names = published.read_class_names(published.IMAGENET_1K)
    self.assertLen(set(names), 1000)
    self.assertEqual(names[0], 'tench, Tinca tinca')
    self.assertEqual(names[134], 'crane (n02012849)')
    self.assertEqual(names[517], 'crane (n03126707)')
    self.assertLen(
      set(published.read_class_names(published.IMAGENET_12K)), 11821
    )

  def test_finds_names(self):
    row = published.find('coatnet_0_rw_224.sw_in1k')
    self.assertIs(row, published.PUBLISHED['timm/coatnet_0_rw_224.sw_in1k'])
    self.assertIn(row.model, sizes.SIZES)
    self.assertIsNone(published.find('coatnet_9_rw_224'))
    self.assertEqual(
      published.nearest('timm/coatnet_0_rw_224'),
      'timm/coatnet_0_rw_224.sw_in1k',
    )


if __name__ == '__main__':
  absltest.main()
