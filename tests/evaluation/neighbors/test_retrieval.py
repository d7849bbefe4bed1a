"""Retrieval: the definition written out, scikit-learn, junk, distractors, ties and errors."""

import doctest

import chex
import numpy as np
from absl.testing import parameterized
from sklearn.metrics import average_precision_score

from ssl_jax import evaluation
from ssl_jax.evaluation.neighbors import retrieval
from ssl_jax.evaluation.neighbors.retrieval import retrieval_scores


def random_problem(seed=0, queries=23, gallery=150, dim=8, people=12):
  """Ids of queries reach further than those of the gallery; every fifth item is a distractor."""
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(people + 3, dim))
  ids, others = rng.integers(0, people + 3, queries), rng.integers(0, people, gallery)
  gallery_features = rng.normal(size=(gallery, dim)) + centers[others]
  others[::5] = -1000
  return {
    'query_features': (rng.normal(size=(queries, dim)) + centers[ids]).astype(np.float32),
    'query_ids': ids,
    'gallery_features': gallery_features.astype(np.float32),
    'gallery_ids': others,
    'query_cameras': rng.integers(0, 3, queries),
    'gallery_cameras': rng.integers(0, 3, gallery),
  }


def unit(rows):
  rows = np.float64(rows)
  return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(
  query_features,
  query_ids,
  gallery_features,
  gallery_ids,
  query_cameras=None,
  gallery_cameras=None,
  query_rows=None,
  junk=None,
):
  """First match, plain and trapezoid AP of each query, walking down its ranking in float64."""
  found = []
  for i, similarities in enumerate(unit(query_features) @ unit(gallery_features).T):
    matches, seen, area, plain, first = 0, 0, 0.0, 0.0, 0
    precision = 1.0
    for j in np.argsort(-similarities, kind='stable'):
      same = gallery_ids[j] == query_ids[i]
      if junk is not None and junk[j]:
        continue
      if query_cameras is not None and same and gallery_cameras[j] == query_cameras[i]:
        continue
      if query_rows is not None and query_rows[i] == j:
        continue
      seen += 1
      previous = precision
      if same and query_ids[i] >= 0:
        matches += 1
        first = first or seen
        plain += matches / seen
        area += (previous + matches / seen) / 2
      precision = matches / seen
    found.append((first, plain / max(matches, 1), area / max(matches, 1)))
  return tuple(np.array(column) for column in zip(*found, strict=True))


class RetrievalTest(chex.TestCase):
  def assertScores(self, scores, expected):
    first, plain, area = expected
    np.testing.assert_array_equal(scores.first_match, first)
    self.assertAlmostEqual(scores.mean_average_precision, plain.mean(), delta=1e-6)
    self.assertAlmostEqual(scores.trapezoid_map, area.mean(), delta=1e-6)
    for rank, share in scores.cmc.items():
      self.assertAlmostEqual(share, np.mean((first > 0) & (first <= rank)), delta=1e-12)
    self.assertEqual(scores.queries, len(first))
    self.assertEqual(scores.queries_without_match, np.sum(first == 0))

  @parameterized.product(seed=(0, 1, 2), cameras=(True, False), chunk_size=(5, 128))
  def test_equals_the_definition(self, seed, cameras, chunk_size):
    problem = random_problem(seed)
    if not cameras:
      del problem['query_cameras'], problem['gallery_cameras']
    problem['junk'] = np.arange(150) % 11 == 0
    scores = retrieval_scores(**problem, ranks=(1, 3, 5, 10, 500), chunk_size=chunk_size)
    self.assertScores(scores, reference(**problem))
    self.assertGreater(scores.queries_without_match, 0)
    self.assertGreater(scores.cmc[10], scores.cmc[1])

  @parameterized.parameters(0, 1)
  def test_plain_map_equals_scikit_learn(self, seed):
    problem = random_problem(seed)
    scores = retrieval_scores(**problem)
    similarities = unit(problem['query_features']) @ unit(problem['gallery_features']).T
    expected = []
    for i, row in enumerate(similarities):
      same = problem['gallery_ids'] == problem['query_ids'][i]
      valid = ~(same & (problem['gallery_cameras'] == problem['query_cameras'][i]))
      found = same[valid].any()
      expected.append(average_precision_score(same[valid], row[valid]) if found else 0)
    self.assertAlmostEqual(scores.mean_average_precision, np.mean(expected), delta=1e-6)

  def test_leaves_each_row_out_of_its_own_ranking(self):
    problem = random_problem()
    features, labels = problem['gallery_features'], np.abs(problem['gallery_ids'])
    arguments = features, labels, features, labels
    rows = np.arange(len(features))
    found = retrieval_scores(*arguments, query_rows=rows)
    self.assertScores(found, reference(*arguments, query_rows=rows))
    self.assertLess(found.cmc[1], 1)
    self.assertEqual(retrieval_scores(*arguments).cmc[1], 1)
    self.assertEqual(retrieval_scores(*arguments, query_rows=rows * 0 - 1).cmc[1], 1)

  def test_earlier_of_equals_comes_first(self):
    # Of length 4 all, and many of them opposite or at right angles: sums are exact, 0 among them.
    rng = np.random.default_rng(0)
    problem = random_problem()
    problem['query_features'] = rng.choice([-1.0, 1.0], (23, 16))
    problem['gallery_features'] = rng.choice([-1.0, 1.0], (150, 16))
    self.assertScores(retrieval_scores(**problem), reference(**problem))
    collapsed = problem | {'gallery_features': np.ones((150, 16))}
    self.assertScores(retrieval_scores(**collapsed), reference(**collapsed))

  def test_worked_market_example(self):
    # Matches at ranks 1 and 3: (1 + 1) / 2 and (1/2 + 2/3) / 2, halved.
    gallery = [[1.0, 0.0], [1.0, 0.1], [1.0, 0.2]]
    scores = retrieval_scores([[1.0, 0.0]], [4], gallery, [4, 5, 4])
    self.assertAlmostEqual(scores.trapezoid_map, (1 + (1 / 2 + 2 / 3) / 2) / 2)
    self.assertAlmostEqual(scores.mean_average_precision, (1 + 2 / 3) / 2)

  def test_distractors_match_nothing_and_push_matches_back(self):
    gallery = np.eye(3)[[0, 0, 1]]
    scores = retrieval_scores(
      [[1.0, 0.1, 0], [1.0, 0.1, 0]], [-1000, 2], gallery, [-1000, -1000, 2]
    )
    np.testing.assert_array_equal(scores.first_match, [0, 3])
    self.assertEqual((scores.queries, scores.queries_without_match), (2, 1))
    self.assertEqual((scores.cmc[1], scores.cmc[5]), (0, 0.5))

  @parameterized.parameters(
    (False, [0.2280857764, 0.7602859213, 0.6082287370], 1),
    (True, [0.0570523696, 0.6465935220, 0.7606982611], 2),
  )
  def test_flip_feature_end_to_end(self, released, golden, rank):
    """Golden G12: the two forms of the flip feature order the same two items differently."""
    query = evaluation.flip_ensemble([[3.0, 4, 0]], [[0.0, 6, 8]], released=released)
    np.testing.assert_allclose(query, [golden], atol=1e-10)
    plain, flip_dominates = [0.25, 0.76, 0.6], [0.05, 0.65, 0.76]
    scores = retrieval_scores(query, [1], [flip_dominates, plain], [-1000, 1])
    self.assertEqual(scores.first_match.tolist(), [rank])

  def test_length_of_features_does_not_matter(self):
    problem = random_problem()
    longer = problem | {
      'query_features': problem['query_features'] * 1e15,
      'gallery_features': problem['gallery_features']
      * np.float32(2) ** np.arange(-75, 75)[:, None],
    }
    self.assertScores(retrieval_scores(**longer), reference(**problem))

  @parameterized.named_parameters(
    ('no_ids', {'query_ids': None}, r'^query_ids: found None'),
    ('strangers', {'query_ids': np.full(23, 99)}, r'^query_ids: found none that gallery_ids has'),
    ('short_ids', {'gallery_ids': np.zeros(3, int)}, r'^gallery_ids: found int64 of shape \(3,\)'),
    ('one_camera', {'query_cameras': None}, r'^query_cameras: found None'),
    ('nan', {'gallery_features': np.full((150, 8), np.nan)}, r'^gallery_features: found NaN'),
    ('width', {'query_features': np.ones((23, 7))}, r'^query_features: found 7 .* must be 8'),
    ('rows', {'query_rows': np.full(23, 150)}, r'^query_rows: found 150 to 150, .* -1 to 149'),
    ('junk', {'junk': np.zeros(150)}, r'^junk: found float64'),
    ('ranks', {'ranks': (0,)}, r'^ranks: found 0'),
    ('chunk', {'chunk_size': 0}, r'^chunk_size: found 0'),
  )
  def test_errors(self, change, message):
    with self.assertRaisesRegex(ValueError, message):
      retrieval_scores(**(random_problem() | change))

  def test_examples(self):
    self.assertEqual(doctest.testmod(retrieval).failed, 0)
