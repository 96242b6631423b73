from absl.testing import absltest

from official_coatnet.analysis.runs import curves, history, page
from tests.fixtures import metrics_lines, newest_stack


class PageTest(absltest.TestCase):
  @newest_stack.only('A page with figures')
  def test_page_holds_names_as_text(self):
    nasty = '</script><script>alert(1)</script>'
    run = history.History(nasty, 'x', None, metrics_lines.LINES, (nasty,))
    figure = page.Figure(nasty, curves.curves([run, run])['Loss (nats)'], nasty)
    rows = {nasty: [nasty]}
    head = page.table(rows, head=page.names([nasty])) + page.notes([nasty])
    section = page.Section(nasty, nasty, page.details(nasty, 'x'), [figure])
    text = page.render(nasty, head, [section])
    self.assertNotIn(nasty, text)
    self.assertEqual(text.count('</script>'), text.count('<script'))

  def test_without_figures(self):
    section = page.Section('Words', 'a < b', page.table({'c': [1, None]}))
    text = page.render('Title', '<p>head</p>', [section])
    self.assertIn('<h1>Title</h1>\n<p>head</p>', text)
    self.assertIn('<p>a &lt; b</p>', text)
    self.assertIn('<tr><th>c</th><td>1</td><td>None</td></tr>', text)

  def test_pictures(self):
    text = page.picture(b'abc', kind='image/png', words='"three" bytes')
    self.assertIn('src="data:image/png;base64,YWJj"', text)
    self.assertIn('alt="&quot;three&quot; bytes"', text)


if __name__ == '__main__':
  absltest.main()
