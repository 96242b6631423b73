"""Tests of tools/gin_flags.py."""

import sys
from unittest import mock

from absl import flags
from absl.testing import absltest

from official_coatnet.training import gin_config
from tools import gin_flags


def _parse(*args):
  values = flags.FlagValues()
  defined = gin_flags.DEFINE_gin(
    ['gin/demo.gin'],
    file_help='Help.',
    bindings_help='Help.',
    flag_values=values,
  )
  values(['tool.py', *args])
  return defined


class GinFlagsTest(absltest.TestCase):
  def test_file_and_bindings(self):
    self.assertEqual(_parse().load().model.name, 'coatnet_demo')
    defined = _parse(
      '--gin_file=gin/imagenet1k_coatnet0.gin',
      '--gin_bindings=SEED = 3',
      '--gin_bindings=EPOCHS = 2',
    )
    experiment = defined.load(also=('SEED = 4',))
    self.assertEqual(experiment.model.name, 'coatnet_0')
    self.assertEqual((experiment.run.seed, experiment.run.epochs), (4, 2))

  def test_imports_by_name_alone(self):
    folder = self.create_tempdir()
    for name in ('one_of_mine', 'two_of_mine'):
      folder.create_file(f'{name}.py', content='')
    imports = ['--gin_bindings=import one_of_mine\nimport two_of_mine']
    with mock.patch.object(sys, 'path', [folder.full_path, *sys.path]):
      for allowed in (
        [],
        ['--allow_imports='],
        ['--allow_imports=one_of_mine'],
      ):
        with self.assertRaisesRegex(gin_config.ConfigError, 'imports nothing'):
          _parse(*imports, f'--allow_imports={allowed}').load()
      self.assertNotIn('one_of_mine', sys.modules)
      _parse(*imports, '--allow_imports=one_of_mine,two_of_mine').load()
      self.assertIn('two_of_mine', sys.modules)


if __name__ == '__main__':
  absltest.main()
