"""The pages of docs/reference say what the code says."""

import os

from absl.testing import absltest

from tests.compatibility import command_line, reference_pages


class ReferencePagesTest(absltest.TestCase):
  def test_pages_are_current(self):
    self.maxDiff = None
    for name, text in reference_pages.pages().items():
      with open(os.path.join(command_line.ROOT, name)) as f:
        self.assertMultiLineEqual(
          f.read(),
          text,
          'run `python -m tests.compatibility.reference_pages --write`',
        )

  def test_everything_says_what_it_means(self):
    for name, text in reference_pages.pages().items():
      if name == 'README.md':
        continue
      for line in text.splitlines():
        if line.startswith('| `'):
          cells = line.strip('| ').split(' | ')
          self.assertGreater(len(cells[-1]), 3, f'{name}: {line}')

  def test_texts_are_no_markdown(self):
    escaped = reference_pages._escaped
    self.assertEqual(
      escaped('a_b *c* [d] <e> `f*<g>` _h'),
      r'a_b \*c\* \[d] &lt;e> `f*<g>` \_h',
    )


if __name__ == '__main__':
  absltest.main()
