import contextlib
import io
import json
import os

from absl import app
from absl.testing import absltest, flagsaver

from tests.fixtures import experiments, runs
from tools import prologue, summarize


def run_tool(**kwargs):
  """Runs the tool with these flags and returns what it prints."""
  output = io.StringIO()
  with flagsaver.flagsaver(**kwargs), contextlib.redirect_stdout(output):
    prologue.guard(summarize.main)(['summarize.py'])
  return output.getvalue()


class SummarizeTest(absltest.TestCase):
  def test_a_network_by_name(self):
    flags = dict(model='coatnet_test', image_size=['64', '96'], num_classes=7)
    result = json.loads(run_tool(format='json', **flags))
    self.assertEqual(result['image_size'], [64, 96])
    self.assertEqual(result['num_classes'], 7)
    self.assertEqual(
      result['params'], sum(stage['params'] for stage in result['stages'])
    )
    text = run_tool(**flags)
    self.assertIn('coatnet_test, 64x96 pixels, 7 classes', text)
    self.assertRegex(text, rf'total +{result["params"]:,} ')
    self.assertIn('what the paper calls FLOPs', text)
    self.assertLessEqual(max(map(len, text.splitlines())), 90)

  def test_a_gin_file(self):
    bindings = ["MODEL = 'coatnet_test'", 'IMAGE_SIZE = 32']
    by_file = run_tool(
      gin_file=['gin/imagenet1k_coatnet0.gin'], gin_bindings=bindings
    )
    self.assertEqual(by_file, run_tool(model='coatnet_test', image_size=['32']))

  def test_a_run(self):
    model_dir = runs.write_run(
      os.path.join(self.create_tempdir().full_path, 'run'),
      experiments.make_experiment(),
    )
    line = {'step': 4, 'epoch': 2.0, 'eval/loss': 1.5, 'eval/top1': 0.25}
    with open(os.path.join(model_dir, 'metrics.jsonl'), 'w') as f:
      f.write(json.dumps(line) + '\n')
    picture = os.path.join(model_dir, 'training.png')
    self.assertIn(
      'loss 1.5000, top1 0.2500, at step 4',
      run_tool(model_dir=model_dir, picture=picture),
    )
    self.assertTrue(os.path.exists(picture))
    result = json.loads(run_tool(model_dir=model_dir, format='json'))
    self.assertEqual(result['best_evaluation'], line)
    both = {'model_dir': model_dir, 'baseline_dir': model_dir}
    self.assertRegex(run_tool(**both), r'gain +top1 25.0 %, \+0.0 points over')
    result = json.loads(run_tool(format='json', **both))
    self.assertEqual(result['comparison']['gain'], 0)

  def test_errors_come_without_traceback(self):
    for flags, message in (
      ({'model': 'coatnet_O'}, "'coatnet_O'.*Did you mean 'coatnet_"),
      ({'model': 'coatnet_0', 'image_size': ['a']}, '--image_size=a is no'),
      ({'model': 'coatnet_0', 'image_size': ['8']}, 'image_size` is 8'),
      ({'gin_file': ['gin/nothing.gin']}, "No gin file 'gin/nothing.gin'"),
      ({'model_dir': '/no/run'}, 'is not the model_dir'),
    ):
      with self.assertRaisesRegex(SystemExit, message):
        run_tool(**flags)

  def test_flags_that_do_not_go_together(self):
    for flags, message in (
      ({}, 'Give one of --model'),
      ({'model': 'coatnet_0', 'model_dir': 'x'}, 'Give one of --model'),
      ({'model': 'coatnet_0', 'picture': 'x.png'}, '--picture'),
      ({'model': 'coatnet_0', 'baseline_dir': 'x'}, '--baseline_dir'),
      ({'model': 'coatnet_0', 'gin_bindings': ['A = 1']}, '--gin_bindings'),
    ):
      with self.assertRaisesRegex(app.UsageError, message):
        run_tool(**flags)


if __name__ == '__main__':
  absltest.main()
