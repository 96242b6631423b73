import json
import os
import re
import shutil
import tempfile

from absl.testing import absltest
from PIL import Image

from official_coatnet.analysis.runs import history, page, report, style
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import (
  browser,
  experiments,
  metrics_lines,
  newest_stack,
  runs,
)

CLASSES = {
  'step': 4,
  'several_labels': False,
  'classes': [
    {'name': name, 'accuracy': 0.2 * i} for i, name in enumerate('abcde')
  ],
  'confused': [
    {'label_name': 'a', 'prediction_name': 'b', 'count': 3, 'share': 0.75}
  ],
}


def write_run(folder, **kwargs):
  """Writes a run with weights, metrics and an evaluation class by class."""
  experiment = experiments.make_experiment(**kwargs)
  runs.write_run(folder, experiment, step=40)
  with open(os.path.join(folder, 'metrics.jsonl'), 'w') as f:
    f.writelines(json.dumps(line) + '\n' for line in metrics_lines.LINES)
  found = model_dir_lib.evaluation_folder(folder, 40)
  os.makedirs(found)
  with open(os.path.join(found, 'classes.json'), 'w') as f:
    json.dump(CLASSES, f)
  Image.new('RGB', (300, 60), '#00c040').save(f'{found}/confused.png')
  return folder


@newest_stack.only('The page of a report')
class ReportTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    temporary = tempfile.TemporaryDirectory()
    cls.addClassCleanup(temporary.cleanup)
    cls.folder = temporary.name
    cls.path = write_run(os.path.join(cls.folder, 'seed <0>'))
    # The same weights, under other settings.
    cls.other = shutil.copytree(cls.path, os.path.join(cls.folder, 'seed1'))
    model_dir_lib.write_experiment(
      cls.other,
      experiments.make_experiment(optimizer={'weight_decay': 0.1}),
    )

  def make(self, *paths, **kwargs):
    return report.make_page(history.read(paths), **kwargs)

  def test_opens_in_a_browser(self):
    browser.find()
    file = os.path.join(self.folder, 'report.html')
    with open(file, 'w') as f:
      f.write(self.make(self.path, self.other))
    self.assertLess(os.path.getsize(file), page.MAX_BYTES)
    for width, height in ((1280, 2600), (400, 5500)):
      view = browser.look(file, width=width, height=height)
      self.assertNotEmpty(view.messages)
      for message in view.messages:
        self.assertRegex(message, r'^"\[bokeh [\d.]+\]', view.messages)
      for colour in style.colours(2):
        self.assertGreater(view.count(colour), 200)
      # The largest bias of a table has the one tint or the other.
      tints = view.count('#2166ac') + view.count('#b2182b')
      self.assertGreater(tints, 100)
      # Of the picture of confused pairs.
      self.assertGreater(view.count('#00c040'), 10_000)

  def test_says_all(self):
    steps = []
    text = self.make(self.path, heads=[1], layers=['s4'], on_step=steps.append)
    self.assertEqual(steps, list(report.STEPS))
    self.assertIn('<title>seed &lt;0&gt;</title>', text)
    headings = re.findall('<h2>(.*?)</h2>', text)
    self.assertEqual(
      headings,
      ['Curves', 'Classes', 'Relative biases', 'Model card', 'Configuration'],
    )
    self.assertIn('a taken for b', text)
    self.assertIn('75.0 %', text)
    self.assertIn('<h3>s4_block0/attention</h3>', text)
    self.assertRegex(text, r'>1 of \d+ heads; blue -')
    self.assertIn('Parameters</td>', text)
    self.assertIn('optimizer.weight_decay', text)
    # Nothing is fetched: all that is asked for is in the page.
    page_itself = re.sub(r'(?s)<script.*?</script>', '', text)
    for address in re.findall(r'(?:src|href)="([^"]*)"', page_itself):
      self.assertStartsWith(address, 'data:')

  def test_heads_and_layers_that_are_not_there(self):
    for choice in ({'heads': [99]}, {'layers': ['s9']}):
      with self.assertRaisesRegex(ValueError, 'No run has relative biases'):
        self.make(self.path, **choice)

  def test_what_is_not_there_is_left_out(self):
    bare = metrics_lines.write(
      os.path.join(self.folder, 'bare'), lines=[metrics_lines.train(10, 1.0)]
    )
    text = self.make(bare)
    self.assertEqual(re.findall('<h2>(.*?)</h2>', text), ['Curves'])
    self.assertIn('experiment.json does not exist', text)
    new = metrics_lines.write(
      os.path.join(self.folder, 'new'),
      lines=None,
      experiment=experiments.make_experiment(),
    )
    text = self.make(new)
    self.assertEqual(re.findall('<h2>(.*?)</h2>', text), ['Configuration'])
    self.assertIn('no curves yet', text)

  def test_a_damaged_evaluation(self):
    path = metrics_lines.write(os.path.join(self.folder, 'damaged'))
    found = model_dir_lib.evaluation_folder(path, 40)
    os.makedirs(found)
    # The numbers stay in the other file, which is not read.
    with open(os.path.join(found, 'classes.csv'), 'w') as f:
      f.write('class\n')
    self.assertNotIn('<h2>Classes', self.make(path))
    with open(os.path.join(found, 'classes.json'), 'w') as f:
      f.write('{"step": ')
    with self.assertRaisesRegex(ValueError, 'classes.json cannot be read'):
      self.make(path)


if __name__ == '__main__':
  absltest.main()
