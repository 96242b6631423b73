"""Tests of tools/import_weights.py, and of starting a run by a name."""

import contextlib
import io
import os
from unittest import mock

import huggingface_hub.constants
from absl import app, logging
from absl.testing import absltest, flagsaver

from official_coatnet.export import saved_model
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import hub_files, photographs, train_tool
from tools import import_weights, prologue, train

_NAME = hub_files.NAME.split('/')[1]


def _run(*arguments, **flags):
  """Calls the tool; returns what it prints."""
  output = io.StringIO()
  verbosity = logging.get_verbosity()
  try:
    with flagsaver.flagsaver(**flags), contextlib.redirect_stdout(output):
      prologue.guard(import_weights.main)(['import_weights.py', *arguments])
  finally:
    logging.set_verbosity(verbosity)
  return output.getvalue()


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
    output = _run(list=True)
    self.assertRegex(
      output, r'timm/coatnet_0_rw_224.sw_in1k +27.44 M +224 +1,000 +82.40 %  ap'
    )
    self.assertRegex(output, r'sw_in12k +181.81 M +224 +11,821 +-  apache')
    self.assertIn('releases/download/coatnet/coatnet0_160_imagenet.h5', output)

  def test_several_are_imported_and_exported(self):
    photo = os.path.join(self.folder, 'photo.png')
    photographs.load('chelsea.png').save(photo)
    paths = [self.write(), os.path.dirname(self.write('mine'))]

    output = _run(
      photo,
      source=paths,
      model_dir=self.model_dir,
      image_size=['64', '96'],
      check=True,
    )

    folders = [os.path.join(self.model_dir, name) for name in (_NAME, 'mine')]
    self.assertIn(f'-> {folders[0]} (timm_coatnet_nano_rw)', output)
    self.assertRegex(output, r'resized +9  relative-bias tables \[27, 27\] to')
    self.assertRegex(output, rf'{photo}\n( +[\d.]+%  [0-4]\n){{5}}')
    for folder in folders:
      experiment = model_dir_lib.read_experiment(folder)
      self.assertEqual(experiment.model.image_size, (64, 96))
    export = saved_model.export(folders[1], os.path.join(self.folder, 'e'))
    with open(os.path.join(export, 'README.md')) as file:
      card = file.read()
    self.assertIn(f'| Source | {paths[1]} |', card)
    self.assertIn('the middle 0.9 of each side, bicubic to 64 x 96', card)

  def test_wrong_use(self):
    path = self.write()
    for arguments, flags, error, words in (
      ([], {}, app.UsageError, 'Give --source and --model_dir'),
      (['x.jpg'], {}, app.UsageError, "'x.jpg'; images are for --check"),
      (
        [],
        {'source': ['x'], 'model_dir': 'y', 'check': True},
        app.UsageError,
        'name the images',
      ),
      (
        [],
        {'source': ['resnet50'], 'model_dir': self.model_dir},
        SystemExit,
        "'resnet50' is neither a file",
      ),
      (
        [],
        {'source': [path], 'model_dir': 'y', 'image_size': ['big']},
        SystemExit,
        '--image_size is big; it must be',
      ),
      (
        [],
        {'source': [path, os.path.dirname(path)], 'model_dir': 'y'},
        SystemExit,
        'would both go to y/coatnet_nano_rw_224.sw_in1k',
      ),
    ):
      with self.assertRaisesRegex(error, words):
        _run(*arguments, **flags)
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

  def refusal(self, *bindings, name=hub_files.NAME):
    """Starts a run that lacks a batch its cores divide, if nothing else."""
    with self.assertRaises(SystemExit) as caught:
      train_tool.call(
        environment={'XDG_CACHE_HOME': self.folder},
        gin_file=['gin/custom_finetune.gin'],
        gin_bindings=[
          "DATA_DIR = '/no/such/records'",
          'NUM_CLASSES = 3',
          f'INIT_CHECKPOINT = {name!r}',
          *bindings,
        ],
        model_dir=os.path.join(self.folder, 'run'),
      )
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
    with flagsaver.flagsaver(mode='eval'):
      self.assertIsNone(train._find_start('timm/coatnet_0_rw_224.sw_in1k'))


if __name__ == '__main__':
  absltest.main()
