"""Splits and classes under the names and in the shapes that folders of images have."""

import os

import chex
import hypothesis
from absl.testing import parameterized
from hypothesis import strategies as st

from ssl_jax.data.folder_layout import find_layout


class LayoutTest(chex.TestCase):
  def find(self, paths, empty=()):
    """The layout of these image files, with the folders they lie in and `empty` ones."""
    paths = paths.split() if isinstance(paths, str) else paths
    folders = {
      path[: at + 1] for path in (*paths, *empty) for at, letter in enumerate(path) if letter == '/'
    }
    self.lines = []
    return find_layout('set', paths, sorted(folders), self.lines.append)

  def assert_layout(self, paths, train, test, **options):
    """`train` and `test` are 'FOLDER: PATH=CLASS ...', with `-` where there is no class."""

    def text(split):
      if split is None:
        return None
      entries = (f'{path}={"-" if c is None else c}' for path, c in split.classes.items())
      return f'{split.folder}: {" ".join(sorted(entries))}'

    found = self.find(paths, **options)
    self.assertEqual((text(found[0]), text(found[1])), (train, test))

  def assert_said(self, *parts):
    for part in parts:
      self.assertTrue(any(part in line for line in self.lines), (part, self.lines))

  def assert_refused(self, paths, message, **options):
    with self.assertRaisesRegex((ValueError, OSError), message) as caught:
      self.find(paths, **options)
    self.assertLess(len(str(caught.exception)), 300)

  @parameterized.product(
    train=(
      'train',
      'training',
      'Train',
      'TRAIN',
      'train_set',
      'trainset',
      'train2017',
      'Training Set',
    ),
    test=('val', 'valid', 'validation', 'dev', 'test', 'testing', 'eval', 'Val', 'TEST', 'val2017'),
  )
  def test_names_of_splits(self, train, test):
    self.assert_layout(
      [f'{train}/cat/0', f'{train}/dog/1', f'{test}/cat/2'],
      f'{train}/: cat/0=cat dog/1=dog',
      f'{test}/: cat/2=cat',
    )
    self.assertLen(self.lines, 1)
    self.assert_said(
      f'training images are in {train}/ (2 images, 2 classes: cat, dog)'
      f', test images in {test}/ (1 image, 1 class: cat)'
    )

  @parameterized.named_parameters(
    ('classes', 'cat/0 dog/1', ': cat/0=cat dog/1=dog', None),
    ('flat', '0 1', ': 0=- 1=-', None),
    ('deeper', 'cat/a/b/0 dog/1', ': cat/a/b/0=cat dog/1=dog', None),
    ('swapped', 'cat/train/0 cat/test/1 dog/train/2 dog/test/3',
     ': cat/train/0=cat dog/train/2=dog', ': cat/test/1=cat dog/test/3=dog'),
    ('swapped_without_a_test_folder', 'cat/Train/0 cat/Val/1 dog/Train/2',
     ': cat/Train/0=cat dog/Train/2=dog', ': cat/Val/1=cat'),
    ('wrapped', 'unpacked/cat/0 unpacked/dog/1', 'unpacked/: cat/0=cat dog/1=dog', None),
    ('wrapped_twice', 'a/b/train/cat/0 a/b/val/cat/1',
     'a/b/train/: cat/0=cat', 'a/b/val/: cat/1=cat'),
    ('beside_a_logo', 'logo.png set/train/cat/0 set/test/cat/1',
     'set/train/: cat/0=cat', 'set/test/: cat/1=cat'),
    ('splits_in_themselves', 'train/train/cat/0 test/test/cat/1',
     'train/train/: cat/0=cat', 'test/test/: cat/1=cat'),
    ('flat_splits_in_themselves', 'train/train/0 test/test/1',
     'train/train/: 0=-', 'test/test/: 1=-'),
    ('images_then_splits', 'images/train/0 images/val/1', 'images/train/: 0=-', 'images/val/: 1=-'),
    ('splits_then_images', 'train/images/0 train/masks/0 valid/images/1 valid/masks/1',
     'train/images/: 0=-', 'valid/images/: 1=-'),
    ('annotations', 'images/0 masks/0', 'images/: 0=-', None),
    ('voc', 'VOC2012/JPEGImages/0 VOC2012/SegmentationClass/0', 'VOC2012/JPEGImages/: 0=-', None),
    ('tiny_imagenet', 'tiny/train/n1/images/0 tiny/train/n2/images/1 tiny/val/images/2',
     'tiny/train/: n1/images/0=n1 n2/images/1=n2', 'tiny/val/images/: 2=-'),
    ('labeled_before_unlabeled_tests', 'train/a/0 test/1 val/a/2', 'train/: a/0=a', 'val/: a/2=a'),
    ('test_before_val', 'train/a/0 test/a/1 val/a/2', 'train/: a/0=a', 'test/: a/1=a'),
    ('one_unknown_test_class', 'train/a/0 train/b/0 test/unknown/1',
     'train/: a/0=a b/0=b', 'test/: unknown/1=-'),
    ('unlabeled_class', 'cat/0 dog/1 unlabeled/2', ': cat/0=cat dog/1=dog unlabeled/2=-', None),
    ('unlabelled_in_train', 'train/cat/0 train/Unlabelled/1 test/cat/2',
     'train/: Unlabelled/1=- cat/0=cat', 'test/: cat/2=cat'),
    ('unlabeled_split', 'train/cat/0 unlabeled/1 test/cat/2',
     ': train/cat/0=cat unlabeled/1=-', 'test/: cat/2=cat'),
    ('unlabeled_alone', 'unlabeled/0 unlabeled/1', 'unlabeled/: 0=- 1=-', None),
    ('class_named_train', 'bus/0 car/1 train/2', ': bus/0=bus car/1=car train/2=train', None),
    ('superclass_with_trains', 'animal/cat/0 vehicle/car/1 vehicle/train/2',
     ': animal/cat/0=animal vehicle/car/1=vehicle vehicle/train/2=vehicle', None),
    ('valid_and_invalid', 'valid/0 invalid/1', ': invalid/1=invalid valid/0=valid', None),
    ('spelled_in_two_forms', ['train/caf\u00e9/0', 'test/cafe\u0301/1'],
     'train/: caf\u00e9/0=caf\u00e9', 'test/: cafe\u0301/1=caf\u00e9'),
  )  # fmt: skip
  def test_layouts(self, paths, train, test):
    self.assert_layout(paths, train, test)

  @parameterized.parameters(
    ('test/cat/0', 'found test/ without train/'),
    ('cat/0 dog/1 Val/2', 'found Val/ without train/, must be both, or class folders of other'),
    ('train/0 Train/1 test/2', 'found train/ and Train/, must be one of them'),
    ('train/0 test/1 Test/2', 'found test/ and Test/, must be one of them'),
    ('cat/train/0 cat/test/1 dog/2', 'found cat/t.*/, but dog/ otherwise, must be train/ and test'),
    (
      'a/train/cat/0 a/test/cat/1 b/train/cat/2',
      'found cat/ inside a/t.*, must be one train/',
    ),
    ('0 1 2 cat/3', r'found 3 images beside folders with 1 \(cat\), must be all in class folders'),
    ('train/a/0 train/b/1 test/a/2 test/c/3', "test: found class 'c', which train/ does not have"),
    ('train/a/0 train/b/1 test/c/2 test/d/3', 'test: found c, d, of which train/ has none'),
    ('train/Cat/0 train/Dog/0 test/Dog/1 test/cat/1', "'cat', which train/ .* nearest: Cat$"),
  )
  def test_ambiguous_layouts_are_refused(self, paths, message):
    self.assert_refused(paths, message)

  def test_splits_without_images_are_refused(self):
    self.assert_refused('test/a/0', 'train: holds no image', empty=('train/',))
    self.assert_refused('train/a/0', 'test: holds no image', empty=('test/a/',))
    self.find('train/a/0 val/a/1', empty=('test/',))
    self.assert_said('test images in val/')

  @parameterized.parameters(
    ('bus/0 car/1 train/2', 'train/ is taken as a class, since it lies beside bus, car and no'),
    ('train/a/0 test/1', 'test/ has no classes, so that no accuracy can be measured'),
    ('train/0 train/1 sample/2', 'not read: sample/ (1 image)'),
    ('train/a/0 val/a/1 test/a/2 test/a/3', 'not read: val/ (1 image)'),
    ('cat/test/0 dog/1', 'images of cat/test/ are taken for images of the class cat, although'),
    (' '.join(f'{i}/a' for i in range(30)), '30 of 30 classes have a single image'),
    ('cat/0 cat/1', 'one class (cat), so that every accuracy is 100 %'),
    ('a/cat/0 a/dog/1 b/cat/2 b/dog/3', 'cat, dog are folders in most of a, b; classes are'),
    ('mask/0 no_mask/1', 'mask/ taken as a class'),
    ('images/0 masks/0', 'not read: masks/ (1 image)'),
    ('cat/0 dog/1 unlabeled/2', '3 images, 1 of them unlabeled, 2 classes: cat, dog'),
  )  # fmt: skip
  def test_what_is_said(self, paths, message):
    self.find(paths)
    self.assert_said(message)

  def test_names_of_any_kind_make_short_lines(self):
    self.find([f'{i}{"x" * 200}\n\x1b[31m/0' for i in range(400)])
    self.assert_said('400 classes: ', ' and 395 more')
    for line in self.lines:
      self.assertTrue(line.isprintable() and len(line) < 300, line)

  @hypothesis.settings(max_examples=60, derandomize=True, deadline=None)
  @hypothesis.given(
    st.sets(
      st.lists(
        st.sampled_from(
          ('train', 'Val', 'test', 'cat', 'dog', 'images', 'masks', 'unlabeled', 'a')
        ),
        max_size=4,
      ).map(tuple),
      min_size=1,
      max_size=8,
    )
  )
  def test_any_tree_is_read_or_refused_in_a_line(self, folders):
    paths = [
      ''.join(f'{name}/' for name in path) + f'{i}' for i, path in enumerate(sorted(folders))
    ]
    try:
      train, test = self.find(paths)
    except (ValueError, OSError) as error:
      self.assertLess(len(str(error)), 300)
      return
    # No image is in both, none is made up, and what is left out is said.
    used = [f'{split.folder}{path}' for split in (train, test) if split for path in split.classes]
    self.assertLen(used, len(set(used)))
    self.assertContainsSubset(used, paths)
    if len(used) < len(paths):
      self.assertTrue(any('not read' in x or 'ignored' in x for x in self.lines), self.lines)

  @hypothesis.settings(max_examples=25, derandomize=True, deadline=None)
  @hypothesis.given(
    st.lists(
      st.one_of(
        st.binary(min_size=1, max_size=40),
        st.sampled_from((b'\n', b'\x1b[31m', '\u202e\u732b'.encode(), b'x' * 255, b'-' * 200)),
      )
      .filter(lambda name: b'/' not in name and b'\0' not in name)
      .map(os.fsdecode),
      min_size=1,
      max_size=4,
      unique=True,
    )
  )
  def test_names_of_any_bytes_make_short_printable_lines(self, names):
    try:
      train, _ = self.find([f'{name}/0' for name in names] + [f'{names[0]}/1'])
      self.assertLen(train.classes, len(names) + 1)
    except (ValueError, OSError) as error:
      self.lines.append(str(error))
    for line in self.lines:
      self.assertTrue(len(line) < 400 and _escapes(line), ascii(line))


def _escapes(line):
  return all(
    character.isprintable() or character.isspace() for character in line.replace('\u200d', '')
  )
