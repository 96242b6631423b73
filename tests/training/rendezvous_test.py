"""Tests of training.rendezvous."""

import socket
import threading

from absl.testing import absltest

from official_coatnet.training import rendezvous


def _free_address() -> str:
  with socket.create_server(('', 0)) as server:
    return f'localhost:{server.getsockname()[1]}'


class RendezvousTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.addresses = [_free_address() for _ in range(3)]
    self.said = []

  def _wait(self, index, **kwargs):
    rendezvous.wait(self.addresses, index, say=self.said.append, **kwargs)

  def test_all_leave_together(self):
    """Nobody leaves before the last one comes, and then all do."""
    first = [threading.Thread(target=self._wait, args=(i,)) for i in (0, 1)]
    for thread in first:
      thread.start()
    first[0].join(timeout=1)
    self.assertTrue(all(thread.is_alive() for thread in first))
    self._wait(2)
    # It has seen them; here is no TensorFlow that would take over its port.
    with socket.create_server(('', int(self.addresses[2].split(':')[1]))):
      for thread in first:
        thread.join(timeout=60)
        self.assertFalse(thread.is_alive())
    self.assertEqual(self.said, [])

  def test_who_is_missing(self):
    with socket.create_server(('', int(self.addresses[1].split(':')[1]))):
      with self.assertRaisesRegex(
        ConnectionError, f'^no answer from {self.addresses[2]} .*refused.$'
      ):
        self._wait(0, timeout=0)

  def test_a_name_that_nobody_has(self):
    self.addresses[2] = 'no-such-host.invalid:1234'
    with self.assertRaisesRegex(ConnectionError, r'no-such-host.invalid:1234 '):
      self._wait(0, timeout=0)

  def test_a_port_that_is_taken(self):
    port = int(self.addresses[0].split(':')[1])
    with socket.create_server(('', port)):
      with self.assertRaisesRegex(ConnectionError, f'port {port} .* in use'):
        self._wait(0)


if __name__ == '__main__':
  absltest.main()
