"""Tests of tools/import_weights.py, and of starting a run by a name."""

import os
from unittest import mock

import gin
import huggingface_hub.constants
from absl import logging
from absl.testing import absltest

from official_coatnet.export import saved_model
from official_coatnet.training import model_dir as model_dir_lib
from tests.compatibility import command_line
from tests.fixtures import hub_files, photographs

_NAME = hub_files.NAME.split('/')[1]


def _run(*arguments):
  """Calls the tool; returns what it prints."""
  verbosity = logging.get_verbosity()
  try:
    return command_line.run('tools/import_weights.py', *arguments)
  finally:
    logging.set_verbosity(verbosity)


class ImportWeightsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.model_dir = os.path.join(self.folder, 'run')

  def write(self, name=_NAME):
    _, state = hub_files.nano(5)
    return hub_files.write(
      os.path.join(self.folder, name, 'model.safetensors'), state
    )

  def test_list(self):
    output = _run('--list')
    self.assertRegex(
      output, r'timm/coatnet_0_rw_224.sw_in1k +27.44 M +224 +1,000 +82.40 %  ap'
    )
    self.assertRegex(output, r'sw_in12k +181.81 M +224 +11,821 +-  apache')
    self.assertIn('releases/download/coatnet/coatnet0_160_imagenet.h5', output)

  def test_several_at_another_size(self):
    photo = os.path.join(self.folder, 'photo.png')
    photographs.load('chelsea.png').save(photo)
    paths = [self.write(), os.path.dirname(self.write('mine'))]

    output = _run(
      f'--source={paths[0]}',
      f'--source={paths[1]}',
      f'--model_dir={self.model_dir}',
      '--image_size=64,96',
      '--check',
      photo,
    )

    folders = [os.path.join(self.model_dir, name) for name in (_NAME, 'mine')]
    self.assertIn(f'-> {folders[0]} (timm_coatnet_nano_rw)', output)
    self.assertRegex(output, r'resized +9  relative-bias tables \[27, 27\] to')
    self.assertRegex(output, rf'{photo}\n( +[\d.]+%  [0-4]\n){{5}}')
    for folder in folders:
      experiment = model_dir_lib.read_experiment(folder)
      self.assertEqual(experiment.model.image_size, (64, 96))
    # What an export is made of.
    model = saved_model.load_model(experiment, folders[1])
    self.assertEqual(model.output_shape, (None, 5))
    self.assertEqual(experiment.eval_data.interpolation, 'bicubic')

  def test_wrong_use(self):
    path = self.write()
    to_run = f'--model_dir={self.model_dir}'
    for arguments, words in (
      ([], 'Give --source and --model_dir'),
      (['x.jpg'], "'x.jpg'; images are for --check"),
      (['--source=x', to_run, '--check'], 'name the images'),
      (['--source=resnet50', to_run], "'resnet50' is neither a file"),
      (
        [f'--source={path}', to_run, '--image_size=big'],
        '--image_size is big; it must be',
      ),
      (
        [f'--source={path}', f'--source={os.path.dirname(path)}', to_run],
        'would both go to .*/coatnet_nano_rw_224.sw_in1k',
      ),
    ):
      with self.assertRaisesRegex(SystemExit, words):
        _run(*arguments)
    self.assertFalse(os.path.exists(self.model_dir))


class TrainTest(absltest.TestCase):
  """INIT_CHECKPOINT is the name of published weights."""

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.enter_context(
      mock.patch.object(huggingface_hub.constants, 'HF_HUB_CACHE', self.folder)
    )
    self.enter_context(
      mock.patch.object(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    )

  def refusal(self, *bindings, name=hub_files.NAME, arguments=()):
    """Starts a run that lacks its records, if nothing else."""
    verbosity = logging.get_verbosity()
    bindings += (
      "DATA_DIR = '/no/such/records'",
      'NUM_CLASSES = 3',
      f'INIT_CHECKPOINT = {name!r}',
    )
    try:
      with (
        mock.patch.dict(os.environ, {'XDG_CACHE_HOME': self.folder}),
        self.assertRaises(SystemExit) as caught,
      ):
        command_line.run(
          'tools/train.py',
          '--gin_file=gin/custom_finetune.gin',
          f'--model_dir={self.folder}/run',
          *(f'--gin_bindings={binding}' for binding in bindings),
          *arguments,
        )
    finally:
      gin.clear_config()
      logging.set_verbosity(verbosity)
    return str(caught.exception)

  def test_by_its_name(self):
    _, state = hub_files.nano(5)
    path = hub_files.write(os.path.join(self.folder, 'x.safetensors'), state)
    with open(path, 'rb') as file:
      contents = {'model.safetensors': file.read()}
    hub_files.cache(self.folder, hub_files.NAME, contents)

    words = self.refusal('MODEL = None', 'IMAGE_SIZE = None')
    self.assertNotIn('init_checkpoint', words)
    self.assertIn('/no/such/records', words)
    # Of the network that the file binds.
    words = self.refusal()
    self.assertIn("weights of 'timm_coatnet_nano_rw', and the network", words)
    self.assertIn("`family` is 'timm_nano_rw' there and 'paper' here", words)
    words = self.refusal("MODEL = 'timm_coatnet_nano_rw'")
    self.assertIn('mean was (0.5, 0.5, 0.5) and is now (0.485,', words)

  def test_a_name_that_leads_nowhere(self):
    words = self.refusal(name='timm/coatnet_nano_rw_224')
    self.assertIn("Did you mean 'timm/coatnet_nano_rw_224.sw_in1k'?", words)
    words = self.refusal(name='timm/coatnet_0_rw_224.sw_in1k')
    self.assertIn('`init_checkpoint`: ', words)
    self.assertIn('download https://huggingface.co/timm/coatnet_0_rw', words)

  def test_evaluation_needs_no_start(self):
    words = self.refusal(
      name='timm/coatnet_0_rw_224.sw_in1k', arguments=['--mode=eval']
    )
    self.assertNotIn('init_checkpoint', words)
    self.assertIn('No checkpoint at', words)


if __name__ == '__main__':
  absltest.main()
