"""Tests of tools.terminal, tools.progress and tools.run_display."""

import contextlib
import io
import json
import logging as python_logging
import os
import re
import threading
from unittest import mock

import rich.console
from absl.testing import absltest, flagsaver, parameterized

from official_coatnet.training import listener, plan as plan_lib
from tools import progress, run_display, terminal

_PLAN = plan_lib.Plan(
  total_steps=100,
  warmup_steps=0,
  eval_interval=50,
  checkpoint_interval=50,
  steps_per_loop=10,
  eval_steps=4,
  num_train_examples=400,
  num_eval_examples=40,
  batch_size=40,
  per_replica_batch_size=20,
)
_LOOP = listener.Loop(
  step=20,
  epoch=2.0,
  plan=_PLAN,
  values={'loss': 0.75, 'top1': 0.5, 'learning_rate': 1e-3, 'top5': 0.9},
  images_per_second=1200.0,
  images_per_second_per_core=600.0,
  input_wait=0.31,
  seconds_left=7500.0,
)


class _Terminal(io.StringIO):
  def isatty(self):
    return True


@contextlib.contextmanager
def _stderr(stream, **environment):
  with (
    mock.patch.dict(os.environ, {'TERM': 'xterm-256color', **environment}),
    contextlib.redirect_stderr(stream),
  ):
    yield stream


def _tell(hears):
  """Tells a listener of a short run."""
  hears.begin(_PLAN, title='a network, 2 x CPU', step=0, evaluations=[])
  hears.after_loop(_LOOP)
  hears.does('evaluates')
  for done in range(1, 5):
    hears.evaluates(done, 4)
  hears.after_evaluation(20, {'loss': 1.0, 'top1': 0.625, 'examples': 40.0})
  hears.after_checkpoint(20, '/run/ckpt-20')


class TerminalTest(parameterized.TestCase):
  @parameterized.parameters(
    (_Terminal, {}, None, 'rich'),
    (_Terminal, {'TERM': 'dumb'}, None, 'plain'),
    (_Terminal, {}, 'plain', 'plain'),
    (_Terminal, {}, 'json', 'json'),
    (io.StringIO, {}, None, 'plain'),
    (io.StringIO, {}, 'rich', 'plain'),
  )
  def test_style(self, stream, environment, chosen, expected):
    with _stderr(stream(), **environment), flagsaver.flagsaver(log=chosen):
      self.assertEqual(terminal.style(), expected)

  def test_lines_have_neither_dates_nor_process_numbers(self):
    format_line = terminal._Formatter().format
    for level, line in (
      (python_logging.INFO, 'step 3'),
      (python_logging.WARNING, 'warning: step 3'),
      (python_logging.ERROR, 'error: step 3'),
    ):
      record = python_logging.LogRecord(
        'absl', level, 'a.py', 1, 'step %d', (3,), None
      )
      self.assertEqual(format_line(record), line)

  def test_what_others_say_is_left_out_unless_it_is_a_warning(self):
    def concerns(path, level):
      return terminal._concerns_the_user(
        python_logging.LogRecord('x', level, path, 1, '', (), None)
      )

    ours = f'{os.sep}official_coatnet{os.sep}files.py'
    theirs = f'{os.sep}orbit{os.sep}controller.py'
    self.assertTrue(concerns(ours, python_logging.INFO))
    self.assertFalse(concerns(theirs, python_logging.INFO))
    self.assertTrue(concerns(theirs, python_logging.WARNING))
    with flagsaver.flagsaver(verbose=True):
      self.assertTrue(concerns(theirs, python_logging.INFO))

  def test_nothing_on_the_terminal_is_left_when_it_ends(self):
    stream = _Terminal()
    with _stderr(stream):
      with terminal.drawn(terminal.Drawing('a block')) as drawing:
        print('a line', file=stream)
        drawing.say('it ends')
      drawing.leave()  # It is no longer there: nothing is written.
    text = stream.getvalue()
    self.assertIn('it ends', text)
    # Hidden once, shown once, and last.
    self.assertEqual(re.findall(r'\x1b\[\?25[hl]', text)[-1], '\x1b[?25h')
    self.assertEqual(text.count('\x1b[?25l'), text.count('\x1b[?25h'))


class RunDisplayTest(parameterized.TestCase):
  def test_lines(self):
    with _stderr(io.StringIO()), self.assertLogs(level='INFO') as logs:
      with run_display.shown() as hears:
        _tell(hears)
    self.assertEqual(
      [line.split(':', 2)[2] for line in logs.output],
      [
        'step 20/100 (20.0 %) | epoch 2.00 | loss 0.75, top1 0.5, '
        'learning_rate 0.001, top5 0.9 | 1200 images/s (600/s/core) | input '
        'wait 31 % | ETA 2 h 5 min',
        'evaluated at step 20: loss 1, top1 0.625, examples 40',
        'saved checkpoint to /run/ckpt-20.',
      ],
    )

  def test_json(self):
    stream = io.StringIO()
    with _stderr(stream), flagsaver.flagsaver(log='json'):
      with run_display.shown() as hears:
        _tell(hears)
        hears.after_evaluation(20, {'loss': float('nan')})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    self.assertEqual(
      [line['event'] for line in lines],
      ['start', 'train', 'evaluation', 'checkpoint', 'evaluation'],
    )
    self.assertEqual(lines[1]['loss'], 0.75)
    self.assertEqual(lines[1]['input_wait'], 0.31)
    self.assertIsNone(lines[-1]['loss'])

  @parameterized.parameters(100, 40)
  def test_block(self, width):
    console = rich.console.Console(width=width, file=io.StringIO())
    block = run_display.Block()
    with mock.patch.object(block, '_draw'):
      _tell(block)
    console.print(block)
    text = console.file.getvalue()
    self.assertLessEqual(max(map(len, text.splitlines())), width)
    words = ' '.join(text.split())
    for part in (
      'a network, 2 x CPU',
      'step 20/100 (20.0 %) epoch 2.00',
      'loss 0.75',
      'top-1 50.00 %',
      'learning rate 0.001',
      'images/s 1,200 (600 a core)',
      'input wait 31 %',
      'ETA 2 h 5 min',
      'last checkpoint ckpt-20, 0 s ago',
    ):
      self.assertIn(part, words)
    if width > 80:
      self.assertIn('top-1 62.50 %, loss 1, at step 20', words)
    self.assertNotIn('\x1b', text)

  def test_block_of_an_evaluation_alone(self):
    console = rich.console.Console(width=60, file=io.StringIO())
    block = run_display.Block()
    with (
      mock.patch.object(block, '_draw'),
      self.assertLogs(level='INFO') as logs,
    ):
      block.does('evaluates')
      block.evaluates(3, 9)
      console.print(block)
      block.after_evaluation(4, {'loss': 1.0})
      block.does('')
      console.print(block)
    self.assertIn('evaluated at step 4: loss 1', logs.output[0])
    text = console.file.getvalue()
    self.assertRegex(text, 'now +evaluates batch 3 of 9')
    self.assertRegex(text, 'now +waits for a checkpoint')
    self.assertNotIn('learning rate', text)

  def test_block_stays_above_what_follows(self):
    stream = _Terminal()
    with _stderr(stream, NO_COLOR='1'):
      with run_display.shown() as hears:
        _tell(hears)
    text = stream.getvalue()
    self.assertEndsWith(text, '\x1b[?25h')
    self.assertIn('has ended', text)
    self.assertNotRegex(text, r'\x1b\[3\dm')  # No colour.


class ProgressTest(absltest.TestCase):
  def test_lines_of_a_pipe(self):
    stream = io.StringIO()
    with _stderr(stream):
      for item in progress.counted(range(3), total=3, what='rows'):
        del item
    self.assertRegex(stream.getvalue(), r'^3 of 3 rows, [\d,]+/s\n$')

  def test_a_bar_ends_where_its_work_does(self):
    stream = _Terminal()
    with _stderr(stream):
      with progress.Progress('records') as show:
        show(1, None)
        show(5, None)
    self.assertEndsWith(stream.getvalue(), '\x1b[?25h')
    self.assertIn('5 records', stream.getvalue())

  def test_while_something_is_timed_nothing_is_drawn(self):
    stream = _Terminal()
    with _stderr(stream), progress.Progress('turns', is_still=True) as show:
      threads = threading.active_count()
      show(1, 3)
      # Nobody is there to draw but who calls.
      self.assertEqual(threading.active_count(), threads)
      drawn = len(stream.getvalue())
      show(2, 3)
      self.assertIn('2 of 3 turns', stream.getvalue()[drawn:])

  def test_json(self):
    stream = io.StringIO()
    with _stderr(stream), flagsaver.flagsaver(log='json'):
      progress.Progress('records')(7, 7)
    line = json.loads(stream.getvalue())
    self.assertEqual((line['what'], line['done']), ('records', 7))


class StepsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.now = 100.0
    clock = mock.patch.object(progress.time, 'monotonic', lambda: self.now)
    self.enter_context(clock)

  def _steps(self, **kwargs):
    seconds = {'reading': 2.0, 'writing': 30.0, 'checking': 8.0}
    return progress.Steps('Exporting D', seconds, **kwargs)

  def test_what_is_left_is_learnt_from_what_is_done(self):
    with _stderr(io.StringIO()), self._steps() as show:
      self.assertAlmostEqual(show.seconds_left(), 40)
      show('reading')
      self.now += 1
      self.assertAlmostEqual(show.seconds_left(), 39)
      self.now += 9
      # It takes five times as long as it should: if it ended now, so would all.
      self.assertAlmostEqual(show.seconds_left(), 190)
      show('writing')
      # 2 s have taken 10, and 4 s of what was thought would have taken 4.
      self.assertAlmostEqual(show.seconds_left(), 40 * 14 / 6 - 10)
      self.now += 190
      show('checking')
      self.assertAlmostEqual(show.seconds_left(), 40 * 204 / 36 - 200)
      self.now += 600
      self.assertEqual(show.seconds_left(), 0)

  def test_a_job_that_was_thought_to_be_longer(self):
    with _stderr(io.StringIO()), self._steps(scale=10.0) as show:
      self.assertAlmostEqual(show.seconds_left(), 400)
      self.now += 2
      show('writing')
      self.assertAlmostEqual(show.seconds_left(), 40 * 42 / 6 - 2)
      with self.assertRaisesRegex(ValueError, "'folding' is not in list"):
        show('folding')

  def test_lines_of_a_pipe(self):
    stream = io.StringIO()
    with _stderr(stream), self._steps() as show:
      show('reading')
      self.now += 2
      show('writing')
      self.now += 32
      show('checking')
    self.assertEqual(
      stream.getvalue().splitlines(),
      [
        'Exporting D: reading (1 of 3), 0:00:00, about 40 s to go',
        # Ten seconds lie between two lines, at least.
        'Exporting D: checking (3 of 3), 0:00:34, some seconds to go',
      ],
    )

  def test_a_short_job_is_not_told_of_in_lines(self):
    stream = io.StringIO()
    with _stderr(stream), self._steps(scale=0.7) as show:
      show('reading')
      self.now += 9
      show('writing')
    self.assertEmpty(stream.getvalue())

  def test_json(self):
    stream = io.StringIO()
    with _stderr(stream), flagsaver.flagsaver(log='json'):
      with self._steps() as show:
        self.now += 2
        show('writing')
    line = json.loads(stream.getvalue())
    del line['time']
    self.assertEqual(
      line,
      {
        'event': 'progress',
        'what': 'Exporting D',
        'step': 'writing',
        'done': 1,
        'total': 3,
        'seconds': 2.0,
        'seconds_left': 38.0,
      },
    )

  def test_a_terminal(self):
    stream = _Terminal()
    with _stderr(stream, NO_COLOR='1', COLUMNS='40'):
      with self._steps() as show:
        show('writing')
        self.now += 7200
        console = rich.console.Console(width=40, file=io.StringIO())
        console.print(show)
        lines = [each.rstrip() for each in console.file.getvalue().splitlines()]
    self.assertEqual(
      lines[:2],
      ['Exporting D: writing (2 of 3), 2:00:00,', 'about 30 min to go'],
    )
    self.assertNotRegex(stream.getvalue(), r'\x1b\[3\dm')  # No colour.
    # What stays there says how long it took, and is no bar.
    self.assertIn('Exporting D: 2:00:00', stream.getvalue())
    self.assertEndsWith(stream.getvalue(), '\x1b[?25h')


if __name__ == '__main__':
  absltest.main()
