import os

from absl.testing import absltest

from official_coatnet.analysis.runs import curves, history
from tests.fixtures import experiments, metrics_lines, newest_stack


def sources(figure):
  """Returns the columns of what is drawn in a figure."""
  return [renderer.data_source.data for renderer in figure.renderers]


@newest_stack.only('The curves of a report')
class CurvesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.create_tempdir().full_path
    self.runs = history.read(
      [
        metrics_lines.write(
          os.path.join(folder, name), experiment=experiments.make_experiment()
        )
        for name in ('one', 'two')
      ]
    )

  def test_curves(self):
    drawn = curves.curves(self.runs)
    self.assertEqual(
      list(drawn),
      [
        'Loss (nats)',
        'Top-1 accuracy (%)',
        'Images/s/core',
        'Core-hours',
        'Steps left out, of a loop',
      ],
    )
    loss = drawn['Loss (nats)']
    of_training, *others = sources(loss)
    self.assertEqual(list(of_training['x']), [1.0, 2.0, 3.0, 4.0])
    self.assertEqual(list(of_training['y']), [3.0, 2.0, 1.5, 1.0])
    self.assertEqual(list(of_training['step']), [10, 20, 30, 40])
    # Where it went on: at step 20, in epoch 2.
    self.assertIn([2.0], [list(each['x']) for each in others])
    [top1, *_] = sources(drawn['Top-1 accuracy (%)'])
    self.assertEqual(list(top1['y']), [50.0, 40.0])
    self.assertIs(loss.x_range, drawn['Core-hours'].x_range)
    hover = [tool for tool in loss.tools if type(tool).__name__ == 'HoverTool']
    self.assertLen(hover, 2 * 3)  # Training, evaluation and restart of each.

  def test_steps_where_no_epoch_is_whole(self):
    lines = tuple({**line, 'epoch': 0.1} for line in self.runs[0].lines)
    run = history.History('run', 'run', None, lines, ())
    [of_training, *_] = sources(curves.curves([run])['Loss (nats)'])
    self.assertEqual(list(of_training['x']), [10, 20, 30, 40])

  def test_long_runs_are_thinned(self):
    lines = tuple(metrics_lines.train(step, 1.0) for step in range(1, 5001))
    run = history.History('run', 'run', None, lines, ())
    [drawn] = sources(curves.curves([run])['Loss (nats)'])
    self.assertBetween(len(drawn['x']), 1000, 1502)
    self.assertEqual((drawn['step'][0], drawn['step'][-1]), (1, 5000))

  def test_metrics_that_nobody_knows_come_last(self):
    line = metrics_lines.train(1, 1.0, **{'train/new_share': 0.5})
    run = history.History('run', 'run', None, (line,), ())
    self.assertEqual(list(curves.panels([run]))[-1], 'new_share')
    self.assertEqual(list(curves.curves([run]))[-1], 'new share')


if __name__ == '__main__':
  absltest.main()
