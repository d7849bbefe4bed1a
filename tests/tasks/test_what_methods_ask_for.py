"""Labels, local crops and the encoder of another run, as flags ask for them."""

import json

import pytest

from tests.tasks import small_runs
from tests.tasks.test_pretrain import TaskTest

BORROWING = (
  '--method.name=simclr+dsa',
  '--method.dsa_prior=checkpoint',
  '--method.dsa_group_size=16',
  '--method.dsa_neighbors=3',
)


class AskingTest(TaskTest):
  def test_labels_where_there_are_none(self):
    images = small_runs.write_images(self.folder / 'unlabeled.npz', labeled=False)
    for name in ('supcon', 'supervised'):
      line = self.refused(f'--method.name={name}', f'--data.source=npz:{images}')
      self.assertIn(f'--method.name: found {name} on images without labels, must be', line)

  def test_labels_local_crops_and_the_meters_of_the_result(self):
    status, out, err = self.call(
      '--method.name=supervised', '--views.local_crops=1', '--views.local_size=4', '--steps=2'
    )
    self.assertEqual(status, 0, err)
    result = json.loads((self.run_dir / 'result.json').read_text())
    for of in ('trained', 'random_init'):
      self.assertEqual(
        set(result['representation'][of]), {'crowding_ratio', 'uniformity', 'feature_std'}
      )
    self.assertIn('crowding', out)
    self.assertIn('train_accuracy', result['last_metrics'])

  @pytest.mark.slow
  def test_the_encoder_of_another_run(self):
    lender = self.run_dir
    self.assertEqual(self.call('--steps=2')[0], 0)
    self.run_dir = self.folder / 'initialized'
    nowhere = f'--method.dsa_prior_run={self.folder}/nowhere'
    self.assertIn('is not the folder of a run', self.refused(*BORROWING, nowhere))
    from_lender = f'--method.dsa_prior_run={lender}'
    line = self.refused(*BORROWING, from_lender, '--model.width=2')
    self.assertIn('is not the one of this run (resnet10, width 2)', line)
    status, out, err = self.call(*BORROWING, from_lender, '--steps=2')
    self.assertEqual(status, 0, err)
    self.assertIn(f'prior     the encoder of {lender} at step 2, frozen', out)
