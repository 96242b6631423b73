"""What tests of tools/query.py share: a stub's answers, and its files."""

import base64
import contextlib
import io
import os
from unittest import mock

import numpy as np
from absl.testing import flagsaver, parameterized

from tests import serving_replies
from tools import query

IMAGE = b'\xff\xd8 any bytes at all \x80\x00'
PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
TOP = '  0.9020  Bär\n  0.0950  kettle\n'


def answer_everything(path, body):
  """What a healthy server says."""
  if path.endswith(':classify'):
    return 200, serving_replies.CLASSIFY
  if path.endswith(':predict'):
    features = body['signature_name'] == 'features'
    return (
      200,
      serving_replies.FEATURES if features else serving_replies.PREDICT,
    )
  if path.endswith('/metadata'):
    return 200, serving_replies.METADATA
  return 200, serving_replies.STATUS


def b64(content):
  return {'b64': base64.b64encode(content).decode()}


class ToolTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # A proxy of the machine has nothing to do with the stub.
    self.enter_context(mock.patch.dict(os.environ, {'no_proxy': '127.0.0.1'}))
    self.folder = self.create_tempdir().full_path
    self.image = self._write('x.jpg', IMAGE)
    self.pixels = os.path.join(self.folder, 'x.npy')
    np.save(self.pixels, PIXELS)

  def _write(self, name, content):
    path = os.path.join(self.folder, name)
    with open(path, 'wb') as f:
      f.write(content)
    return path

  def _run(self, *files, **flags):
    """Runs the tool; returns what it prints, and how it ends: None, 1, text."""
    output = io.StringIO()
    end = None
    with flagsaver.flagsaver(**{'model': 'coatnet', **flags}):
      with contextlib.redirect_stdout(output):
        try:
          query.main(['query.py', *files])
        except SystemExit as e:
          end = e.code
    return output.getvalue(), end
