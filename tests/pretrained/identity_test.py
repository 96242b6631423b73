"""Tests of what weights say of themselves, by their names and shapes."""

import copy
import functools

import numpy as np
from absl.testing import absltest, parameterized

from official_coatnet.modeling import sizes
from official_coatnet.pretrained import hub, identity, published
from tests.fixtures import hub_files

HALF = (0.5, 0.5, 0.5)


@functools.cache
def nano():
  return hub_files.shapes_only(hub_files.nano()[1])


def identify(state=None, *, path='/x/model.safetensors', **kwargs):
  file = hub.WeightsFile(path, path, **kwargs)
  return identity.identify(file, nano() if state is None else state)


def with_classes(count):
  bias = np.broadcast_to(np.zeros((), 'f'), (count,))
  weight = np.broadcast_to(np.zeros((), 'f'), (count, 512))
  return {**nano(), 'head.fc.bias': bias, 'head.fc.weight': weight}


def settings(**changes):
  found = copy.deepcopy(hub_files.SETTINGS)
  found['pretrained_cfg'].update(changes.pop('cfg', {}))
  return {**found, **changes}


class IdentityTest(parameterized.TestCase):
  def test_a_published_file(self):
    found = identify(row=published.PUBLISHED[hub_files.NAME])
    self.assertEqual(found.model, hub_files.MODEL)
    self.assertEqual((found.image_size, found.num_classes), (224, 1000))
    self.assertEqual(
      found.preparation, identity.Preparation(True, 0.9, 'bicubic', HALF, HALF)
    )
    self.assertEqual(found.class_names[0], 'tench, Tinca tinca')
    self.assertEqual(found.row.name, hub_files.NAME)

  def test_no_two_networks_look_alike(self):
    prints = [
      identity._print_of_row(name)
      for name, size in sizes.SIZES.items()
      if size.origin in ('timm', 'kecam')
    ]
    self.assertLen(set(prints), len(prints))
    self.assertLen(prints, 17)

  def test_a_file_that_says_nothing_but_its_weights(self):
    found = identify()
    self.assertEqual(found.model, hub_files.MODEL)
    self.assertEqual(found.preparation.eval_crop_fraction, 0.9)
    self.assertIsNone(found.row)
    # Of other classes, the names are not known.
    self.assertIsNone(identify(with_classes(7)).class_names)

  def test_where_that_is_not_enough(self):
    # An MLP gives the bias at any size: 224 with crops, or 384 without.
    state = {
      'stem.conv1.weight': np.zeros((64, 3, 3, 3)),
      'head.fc.weight': np.zeros((1000, 1024)),
      'head.fc.bias': np.zeros(1000),
      'stages.2.blocks.0.attn.rel_pos.mlp.fc1.weight': np.zeros((512, 2)),
    }
    for stage, count in enumerate((2, 6, 14, 2)):
      for block in range(count):
        state[f'stages.{stage}.blocks.{block}.ls1.gamma'] = np.zeros(1)
    with self.assertRaisesRegex(
      ValueError, 'how its images are prepared.*rmlp_2_rw_384.*rmlp_2_rw_224'
    ):
      identify(state)

  def test_of_kecam(self):
    state = {
      'predictions/kernel': np.zeros((768, 10)),
      'predictions/bias': np.zeros(10),
      # Of images of 160 pixels: 19 x 19 offsets.
      'stack_3_block_1_mhsa_pos_emb/positional_embedding': np.zeros((12, 361)),
    }
    for stage, count in enumerate((2, 3, 5, 2), start=1):
      for block in range(1, count + 1):
        state[f'stack_{stage}_block_{block}_preact/gamma'] = np.zeros(1)
    row = published.PUBLISHED['kecam/coatnet0_224_imagenet']
    for kwargs in ({}, {'row': row}):
      found = identify(state, **kwargs)
      self.assertEqual(found.model, 'kecam_coatnet_0')
      self.assertEqual((found.image_size, found.num_classes), (160, 10))
      self.assertEqual(found.preparation.mean, (0.485, 0.456, 0.406))
      self.assertIsNone(found.class_names)

  def test_config_json(self):
    found = identify(settings=settings())
    self.assertEqual(found.row.name, hub_files.NAME)
    self.assertEqual(found.class_names[0], 'tench, Tinca tinca')
    changes = {
      'tag': '',
      'crop_mode': 'squash',
      'crop_pct': 1,
      'interpolation': 'bilinear',
      'std': [1, 1, 1],
    }
    found = identify(
      with_classes(2),
      settings=settings(cfg=changes, label_names=['cat', 'dog']),
    )
    self.assertEqual(
      found.preparation,
      identity.Preparation(False, 1.0, 'bilinear', HALF, (1.0, 1.0, 1.0)),
    )
    self.assertEqual(found.class_names, ('cat', 'dog'))
    self.assertIsNone(found.row)

  @parameterized.parameters(
    ({'architecture': 'coatnet_0_rw_224'}, "'timm_coatnet_0_rw'.*holds those"),
    ({'architecture': 'maxvit_tiny'}, "'maxvit_tiny', which is no network"),
    ({'model_args': {'cfg': 1}}, '`model_args` in config.json changes cfg'),
    ({'cfg': {'interpolation': 'nearest'}}, "`interpolation` is 'nearest'"),
    ({'cfg': {'crop_mode': 'border'}}, "`crop_mode` is 'border'"),
    ({'cfg': {'mean': None}}, 'does not say how images are prepared'),
    ({'pretrained_cfg': {'mean': 1}}, "it lacks 'interpolation'"),
  )
  def test_config_json_that_does_not_fit(self, changes, words):
    with self.assertRaisesRegex(ValueError, words):
      identify(settings=settings(**changes))

  def test_the_name_of_another_network(self):
    row = published.PUBLISHED['timm/coatnet_0_rw_224.sw_in1k']
    with self.assertRaisesRegex(
      ValueError, "of 'timm_coatnet_0_rw' by its name.*'timm_coatnet_nano_rw'"
    ):
      identify(row=row)

  def test_weights_of_other_networks(self):
    other = {'layer1.0.conv1.weight': np.zeros(1), 'fc.bias': np.zeros(1)}
    with self.assertRaisesRegex(
      ValueError,
      r"'resnet50' by its config.json, are of none.*\(layer1.0.conv1.weight",
    ):
      identify(other, settings={'architecture': 'resnet50'})
    deeper = {**nano(), 'stages.0.blocks.3.x': np.zeros(1)}
    with self.assertRaisesRegex(
      ValueError, r"by timm's names, with \[4, 4, 6, 3\] blocks, 512 channels"
    ):
      identify(deeper)
    headless = {n: a for n, a in nano().items() if not n.startswith('head.fc')}
    with self.assertRaisesRegex(ValueError, 'of none of the networks'):
      identify(headless)


if __name__ == '__main__':
  absltest.main()
