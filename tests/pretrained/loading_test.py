"""Tests of networks with weights of others."""

import os
import subprocess
import sys
from unittest import mock

import huggingface_hub.constants
import numpy as np
import tensorflow as tf
from absl.testing import absltest
from PIL import Image

import official_coatnet
from official_coatnet.modeling import config as config_lib
from official_coatnet.pretrained import identity, loading
from tests.fixtures import experiments, hub_files, photographs, repository, runs

HALF = (0.5, 0.5, 0.5)
PREPARATION = identity.Preparation(True, 0.9, 'bicubic', HALF, HALF)
# One block a stage: enough of a network for its names.
SMALL = {
  'blocks': (2, 1, 1, 1, 1),
  'widths': (16, 16, 16, 32, 32),
  'head_size': 16,
}


def known(model, num_classes=4):
  return identity.Identity(model, 64, num_classes, PREPARATION, None, None)


def load(model, state, **changes):
  """Loads weights of a small network of four classes at 64 pixels."""
  include_top = changes.pop('include_top', True)
  config = config_lib.ModelConfig(
    model, **{'image_size': 64, 'num_classes': 4, **SMALL, **changes}
  )
  found = loading.build(config, include_top=include_top)
  report = loading.load_state(
    found, state, known=known(model), config=config, path='x.safetensors'
  )
  return found, report


class LoadStateTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.model = 'timm_coatnet_bn_0_rw'
    config = config_lib.ModelConfig(
      self.model, image_size=64, num_classes=4, **SMALL
    )
    self.original, self.state = hub_files.randomized(config)
    self.images = np.random.RandomState(0).normal(size=(2, 64, 64, 3))

  def test_all_of_it(self):
    found, report = load(self.model, self.state)
    np.testing.assert_array_equal(
      found(self.images), self.original(self.images)
    )
    self.assertEqual(report.left_out, ['stem.norm1.num_batches_tracked'])

  def test_other_classes_have_a_new_last_layer(self):
    found, report = load(self.model, self.state, num_classes=7)
    self.assertEqual(found(self.images).shape, (2, 7))
    self.assertContainsSubset(
      {'head.fc.weight', 'head.fc.bias'}, report.left_out
    )
    np.testing.assert_array_equal(found.get_layer('logits').bias, np.zeros(7))
    np.testing.assert_array_equal(
      found.get_layer('head_norm').gamma,
      self.original.get_layer('head_norm').gamma,
    )

  def test_the_backbone(self):
    found, report = load(self.model, self.state, include_top=False)
    expected = tf.keras.Model(
      self.original.input, self.original.get_layer('s4_block0').output
    )
    np.testing.assert_array_equal(
      found(self.images)['5'], expected(self.images)
    )
    self.assertIn('norm.weight', report.left_out)

  def test_another_image_size_resizes_the_tables(self):
    _, report = load(self.model, self.state, image_size=(96, 64))
    self.assertEqual(
      [(old[1:], new[1:]) for _, old, new in report.resized],
      [((7, 7), (11, 7)), ((3, 3), (5, 3))],
    )

  def test_an_mlp_is_evaluated_for_the_size(self):
    state = {
      name: array
      for name, array in self.state.items()
      if 'relative_position_bias_table' not in name
    }
    rng = np.random.RandomState(1)
    for stage, heads in ((2, 1), (3, 2)):
      mlp = f'stages.{stage}.blocks.0.attn.rel_pos.mlp.'
      state[f'{mlp}fc1.weight'] = rng.normal(size=(8, 2)).astype('f')
      state[f'{mlp}fc1.bias'] = rng.normal(size=8).astype('f')
      state[f'{mlp}fc2.weight'] = rng.normal(size=(heads, 8)).astype('f')
      state[f'{mlp}fc2.bias'] = rng.normal(size=heads).astype('f')
    found, report = load(self.model, state, image_size=96)
    self.assertLen(report.evaluated, 2)
    table = found.get_layer('s3_block0').attention.relative_bias.numpy()
    self.assertEqual(table.shape, (1, 11, 11))
    mlp = 'stages.2.blocks.0.attn.rel_pos.mlp.'
    # Three rows down, one column to the left.
    offset = np.array([np.log(4.0), -np.log(2.0)])
    hidden = np.maximum(
      state[f'{mlp}fc1.weight'] @ offset + state[f'{mlp}fc1.bias'], 0
    )
    np.testing.assert_allclose(
      table[:, 5 + 3, 5 - 1],
      state[f'{mlp}fc2.weight'] @ hidden + state[f'{mlp}fc2.bias'],
      rtol=1e-5,
    )

  def test_what_does_not_fit(self):
    name = 'stem.conv1.weight'
    one_channel = {**self.state, name: self.state[name][:, :1]}
    with self.assertRaisesRegex(
      ValueError,
      r'(?s)in x.safetensors do not fit.*stem.conv1.weight: \[3, 3, 1, 8\] in '
      r'the file, \[3, 3, 3, 8\] in the network',
    ):
      load(self.model, one_channel)
    del one_channel[name]
    with self.assertRaisesRegex(ValueError, 's0/conv0/kernel: not in the file'):
      load(self.model, one_channel)


class PreprocessTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.preprocess = loading.Preprocess((48, 48), PREPARATION)
    self.image = photographs.load('chelsea.png')
    self.pixels = np.asarray(self.image)

  def test_as_pil_does_it(self):
    # timm: the shorter side to 48 / 0.9, and the middle of it.
    side = int(48 / 0.9)
    height, width = self.pixels.shape[:2]
    size = (int(side * width / height), side)
    resized = self.image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - 48) / 2), round((side - 48) / 2)
    cut = np.asarray(resized.crop((left, top, left + 48, top + 48)))
    found = self.preprocess(self.pixels)[0]
    np.testing.assert_allclose(found, cut / 127.5 - 1, atol=1.01 / 127.5)

  def test_paths_bytes_and_pixels_are_the_same(self):
    path = os.path.join(self.create_tempdir().full_path, 'x.png')
    self.image.save(path)
    with open(path, 'rb') as file:
      contents = file.read()
    found = self.preprocess([path, contents, self.pixels])
    self.assertEqual(found.shape, (3, 48, 48, 3))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(self.preprocess(path), found[:1])

  def test_what_is_no_image(self):
    path = os.path.join(self.create_tempdir().full_path, 'x.txt')
    with open(path, 'w') as file:
      file.write('no image')
    for photos, words in (
      ([], 'is empty'),
      (self.pixels[..., :1], r'\[300, 451, 1\].*Of one channel: np.repeat'),
      (self.pixels / 255.0, 'float64'),
      (path, f'{path}: '),
    ):
      with self.assertRaisesRegex(ValueError, words):
        self.preprocess(photos)
    with self.assertRaises(FileNotFoundError):
      self.preprocess('/no/such/file')


class FromPretrainedTest(absltest.TestCase):
  def test_by_its_name(self):
    folder = self.create_tempdir().full_path
    original, state = hub_files.nano()
    path = hub_files.write(os.path.join(folder, 'x.safetensors'), state)
    with open(path, 'rb') as file:
      contents = {'model.safetensors': file.read()}
    hub_files.cache(folder, hub_files.NAME, contents)
    with mock.patch.object(huggingface_hub.constants, 'HF_HUB_CACHE', folder):
      model = official_coatnet.from_pretrained(hub_files.NAME)

    self.assertLen(model.class_names, 1000)
    images = model.preprocess(np.asarray(photographs.load('chelsea.png')))
    self.assertEqual(images.shape, (1, 224, 224, 3))
    np.testing.assert_array_equal(model(images), original(images))

  def test_the_model_dir_of_a_run(self):
    run = runs.write_run(
      os.path.join(self.create_tempdir().full_path, 'run'),
      experiments.make_experiment(),
      labels=['a', 'b', 'c', 'd', 'e'],
    )
    model = official_coatnet.from_pretrained(run)
    self.assertEqual(model.output_shape, (None, 5))
    self.assertEqual(model.class_names, ('a', 'b', 'c', 'd', 'e'))
    self.assertEqual(model.preprocess.preparation.interpolation, 'bilinear')
    backbone = official_coatnet.from_pretrained(
      run, include_top=False, image_size=(64, 32)
    )
    self.assertEqual(backbone.output_shape['5'], (None, 2, 1, 32))
    other = official_coatnet.from_pretrained(run, num_classes=3)
    self.assertEqual(other.output_shape, (None, 3))
    self.assertIsNone(other.class_names)

  def test_a_backbone_has_no_classes(self):
    with self.assertRaisesRegex(ValueError, 'a backbone has no classes'):
      official_coatnet.from_pretrained('x', num_classes=3, include_top=False)

  def test_the_package_does_not_import_tensorflow(self):
    code = 'import official_coatnet, sys; print("tensorflow" in sys.modules)'
    output = subprocess.run(
      [sys.executable, '-c', code],
      cwd=repository.ROOT,
      check=True,
      capture_output=True,
      text=True,
    ).stdout
    self.assertEqual(output, 'False\n')
    with self.assertRaisesRegex(AttributeError, "no attribute 'nothing'"):
      _ = official_coatnet.nothing


if __name__ == '__main__':
  absltest.main()
