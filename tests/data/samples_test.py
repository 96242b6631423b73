"""Tests of official_coatnet.data.samples; checks_test has the sentences."""

from absl.testing import absltest

from official_coatnet.data import samples
from tests.fixtures import example_files


class FileProblemsTest(absltest.TestCase):
  def test_the_same_problem_is_said_once(self):
    folder = self.create_tempdir().full_path
    paths = example_files.write_shards(folder, [b'x'] * 9, num_shards=9)
    self.assertEmpty(samples.file_problems(paths, compression=None))
    (problem,) = samples.file_problems(paths, compression='GZIP')
    self.assertRegex(
      problem,
      "-00000-of-00009 is not compressed, but DataConfig.compression is 'GZIP'"
      '.* The same in 8 more of the files looked into.',
    )

  def test_different_problems_are_counted(self):
    folder = self.create_tempdir()
    paths = [
      folder.create_file(f'train-{i}', content=f'{i}.jpg').full_path
      for i in range(8)
    ]
    problems = samples.file_problems(paths, compression=None)
    self.assertLen(problems, 6)
    self.assertRegex(problems[0], "^.*/train-0 .* line is '0.jpg'; move it")
    self.assertEqual(problems[-1], '3 more problems of this kind.')

  def test_nothing_is_read_twice_of_a_thousand_files(self):
    """All of another name, and a share of those that are alike."""
    folder = self.create_tempdir()
    paths = [f'{folder.full_path}/train-{i:05d}-of-01000' for i in range(1000)]
    for path in paths[::16]:
      with open(path, 'wb') as file:
        file.write(b'\0')
    odd = folder.create_file('train.index', content='a,b').full_path
    problems = samples.file_problems(sorted([*paths, odd]), compression=None)
    self.assertLen(problems, 2)
    self.assertRegex(problems[0], 'nothing but zeros.* same in 62 more')
    self.assertStartsWith(problems[1], odd)


if __name__ == '__main__':
  absltest.main()
