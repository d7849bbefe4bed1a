"""A test case with a folder of its own."""

import pathlib
import tempfile

import chex


class TemporaryFolderTest(chex.TestCase):
  """`self.folder` is empty at the start of each test and gone after it."""

  def setUp(self):
    super().setUp()
    # absl's own create_tempdir needs parsed flags, which pytest does not have.
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
