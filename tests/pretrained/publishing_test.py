import json
import os
from unittest import mock

import huggingface_hub
import numpy as np
import safetensors
import safetensors.numpy
from absl.testing import absltest, parameterized

from official_coatnet.pretrained import conversion, publishing, timm
from official_coatnet.training import (
  checkpoints,
  guard,
  model_dir as model_dir_lib,
)
from tests.fixtures import damage, experiments, runs

_NAMES = ['a rose', 'b', 'c', 'd: e', 'f']
_RMLP = {
  'name': 'timm_coatnet_rmlp_1_rw',
  'blocks': (2, 1, 1, 1, 1),
  'widths': (16, 16, 16, 32, 32),
  'head_size': 16,
}


class PublishTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.output = os.path.join(self.folder, 'timm')

  def write_run(self, labels=None, ruined=(), **kwargs):
    return runs.write_run(
      os.path.join(self.folder, 'run'),
      experiments.make_experiment(**kwargs),
      labels=labels,
      ruined=ruined,
    )

  def read_config(self):
    with open(os.path.join(self.output, 'config.json'), encoding='utf-8') as f:
      return json.load(f)

  def read_card(self):
    with open(os.path.join(self.output, 'README.md'), encoding='utf-8') as f:
      return f.read()

  @parameterized.named_parameters(
    ('paper, raw', {}, 'raw'),
    ('paper, averages', {}, 'ema'),
    ('timm', _RMLP, None),
  )
  def test_what_is_written_reads_back_bit_for_bit(self, model, weights):
    model_dir = self.write_run(model=model, optimizer={'ema_decay': 0.9})

    steps = []
    paths = publishing.publish(
      model_dir, self.output, weights=weights, on_step=steps.append
    )

    self.assertEqual(steps, list(publishing.STEPS))
    self.assertEqual(
      paths, [os.path.join(self.output, name) for name in publishing.FILES]
    )
    self.assertCountEqual(os.listdir(self.output), publishing.FILES)
    # What the run says is EMA, where there is one.
    stored = checkpoints.StoredWeights(model_dir, weights=weights or 'ema')
    config = model_dir_lib.read_experiment(model_dir).model
    back, _ = conversion.to_ours(
      safetensors.numpy.load_file(paths[0]),
      stored.shapes,
      lines=timm.lines(config),
      ignored=timm.is_ignored,
    )
    for name in stored.shapes:
      np.testing.assert_array_equal(back[name], stored.read(name), name)
    with safetensors.safe_open(paths[0], 'numpy') as f:
      self.assertEqual(f.metadata(), {'format': 'pt'})

  def test_weights_that_are_not_finite(self):
    model_dir = self.write_run(ruined=['s0/conv0/kernel'])
    with self.assertRaisesRegex(
      guard.NonFiniteWeightsError,
      r"Nothing is published of the checkpoint '.*ckpt-4' \(raw\).*"
      'in s0/conv0/kernel. Take an earlier',
    ):
      publishing.publish(model_dir, self.output)
    self.assertFalse(os.path.exists(self.output))

  def test_preprocessing_and_names_are_those_of_the_run(self):
    data = {
      'image_size': (64, 96),
      'eval_crop_fraction': 0.95,
      'interpolation': 'bicubic',
      'mean': (0.5, 0.4, 0.3),
      'deviation': (0.2, 0.3, 0.4),
    }
    model_dir = self.write_run(
      model={'image_size': (64, 96)},
      train_data=data,
      eval_data=data,
      labels=_NAMES,
    )
    publishing.publish(model_dir, self.output)

    config = self.read_config()
    self.assertEqual(config['architecture'], 'coatnet_0_224')
    self.assertEqual(config['num_classes'], 5)
    self.assertEqual(config['num_features'], 32)
    self.assertEqual(config['label_names'], _NAMES)
    self.assertEqual(config['model_args']['img_size'], [64, 96])
    prepared = config['pretrained_cfg']
    self.assertEqual(prepared['input_size'], [3, 64, 96])
    self.assertEqual(prepared['pool_size'], [2, 3])
    self.assertEqual(prepared['num_classes'], 5)
    self.assertEqual(prepared['interpolation'], 'bicubic')
    self.assertEqual(prepared['crop_pct'], 0.95)
    self.assertEqual(prepared['crop_mode'], 'center')
    self.assertEqual(prepared['mean'], [0.5, 0.4, 0.3])
    self.assertEqual(prepared['std'], [0.2, 0.3, 0.4])

  def test_damaged_checkpoint(self):
    model_dir = self.write_run()
    with self.assertRaisesRegex(ValueError, 'no checkpoint of step 3; .*: 4.'):
      publishing.publish(model_dir, self.output, checkpoint_step=3)
    damage.OF_CHECKPOINT['data flipped'](model_dir, 4)
    for step in (4, None):
      with self.assertRaisesRegex(ValueError, 'ckpt-4.*is damaged'):
        publishing.publish(model_dir, self.output, checkpoint_step=step)
    self.assertFalse(os.path.exists(self.output))

  def test_whole_image_squeezed(self):
    data = {'center_crop': False}
    model_dir = self.write_run(train_data=data, eval_data=data)
    publishing.publish(model_dir, self.output)
    config = self.read_config()
    self.assertEqual(config['pretrained_cfg']['crop_mode'], 'squash')
    self.assertEqual(config['pretrained_cfg']['crop_pct'], 1.0)
    self.assertNotIn('label_names', config)

  def test_card_goes_with_it(self):
    publishing.publish(self.write_run(), self.output, licence='mit')
    self.assertStartsWith(self.read_card(), '---\nlicense: "mit"\n')

  def test_nothing_is_written_of_what_cannot_be_built(self):
    model_dir = self.write_run(model={'relative_attention': 'none'})
    with self.assertRaisesRegex(ValueError, '`relative_attention` is'):
      publishing.publish(model_dir, self.output)
    self.assertFalse(os.path.exists(self.output))

  def test_names_that_are_not_those_of_the_network(self):
    model_dir = self.write_run(labels=['a', 'b'])
    with self.assertRaisesRegex(ValueError, '2 labels, and the network 5'):
      publishing.publish(model_dir, self.output)

  def test_missing_library(self):
    model_dir = self.write_run()
    with mock.patch.dict('sys.modules', {'safetensors.numpy': None}):
      with self.assertRaisesRegex(ImportError, r'pip install .*\[weights\]'):
        publishing.publish(model_dir, self.output)


class PushTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.enter_context(mock.patch.dict(os.environ, {'HF_TOKEN': 'hf_x'}))

  def test_uploads_its_files_alone(self):
    api = mock.create_autospec(huggingface_hub.HfApi, instance=True)
    api.upload_folder.return_value.commit_url = 'https://hub/commit'
    with mock.patch.object(huggingface_hub, 'HfApi', return_value=api):
      url = publishing.push(self.folder, 'owner/name')
    self.assertEqual(url, 'https://hub/commit')
    api.create_repo.assert_called_once_with('owner/name', exist_ok=True)
    arguments = api.upload_folder.call_args.kwargs
    self.assertEqual(arguments['repo_id'], 'owner/name')
    self.assertEqual(arguments['folder_path'], self.folder)
    self.assertCountEqual(arguments['allow_patterns'], publishing.FILES)

  def test_nobody_is_logged_in(self):
    with mock.patch.object(huggingface_hub, 'get_token', return_value=None):
      with self.assertRaisesRegex(OSError, 'hf auth login.*The files stay'):
        publishing.push(self.folder, 'owner/name')

  def test_hub_cannot_be_reached(self):
    # Nothing listens there.
    api = huggingface_hub.HfApi(endpoint='http://127.0.0.1:9')
    with mock.patch.object(huggingface_hub, 'HfApi', return_value=api):
      with self.assertRaisesRegex(
        OSError, "'owner/name' failed .*cannot be reached.*The files stay"
      ) as caught:
        publishing.push(self.folder, 'owner/name')
    self.assertNotIn('\n', str(caught.exception))

  def test_hub_refuses(self):
    api = mock.create_autospec(huggingface_hub.HfApi, instance=True)
    api.create_repo.side_effect = huggingface_hub.errors.HfHubHTTPError(
      '403 Forbidden: no rights\nand more', response=mock.Mock()
    )
    with mock.patch.object(huggingface_hub, 'HfApi', return_value=api):
      with self.assertRaisesRegex(OSError, 'refused .*no rights. The files'):
        publishing.push(self.folder, 'owner/name')

  @parameterized.parameters('name', 'owner/name/more', 'owner/na me', 'ö/name')
  def test_names_of_repositories(self, name):
    with self.assertRaisesRegex(ValueError, 'must be owner/name'):
      publishing.push(self.folder, name)

  def test_folder_elsewhere(self):
    with self.assertRaisesRegex(ValueError, 'not on this machine'):
      publishing.push('gs://bucket/timm', 'owner/name')

  def test_missing_library(self):
    with mock.patch.dict('sys.modules', {'huggingface_hub': None}):
      with self.assertRaisesRegex(
        ImportError, 'takes the package huggingface_hub'
      ):
        publishing.check_repository('owner/name')


if __name__ == '__main__':
  absltest.main()
