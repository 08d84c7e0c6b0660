# %% [markdown]
# # A first model
#
# Load a cohort, look at it, train a small model on its volumes, score it, and ask whether it beats
# a simpler one. The cohort is **synthetic**: 60 heads at 4 mm, made here in half a minute. Nothing
# below says anything about patients.
#
# `pip install "ictmri[phantom]" matplotlib scikit-learn`

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ictmri
import ictmri_benchmark as bench
from ictmri.build.phantom import build_phantom

cohort = build_phantom(Path("phantom-60"), n_cases=60, spacing=4.0, jobs=2).root
titles = ["glioma", "PCNSL", "germinoma", "rare"]

# %% [markdown]
# ## Load
#
# `cases` is who is in the cohort, in pandas, without any volume. `load_dataset` gives the volumes:
# `train` and `test` of a fold, or every fold by itself. With the published phantom the name is
# `"ictmri-phantom"`, with the clinical cohort `"ictmri"`, and nothing else changes.

# %%
cases = ictmri.cases(cohort)
cases.groupby("label").age.describe()[["count", "mean", "min", "max"]].round(1)

# %%
folds = ictmri.load_dataset(str(cohort))
rows = {row["case_id"]: row for fold in folds.values() for row in fold}
images = [nib.as_closest_canonical(rows[case_id]["image"].nifti_image) for case_id in cases.case_id]
images[0].shape, images[0].header.get_zooms()

# %% [markdown]
# ## Look
#
# One head of each class, cut where it is brightest; the patient's right is on the left.


# %%
def brightest(image):
    """Return the smoothed volume, in units of its head's median, and the brightest voxel of its middle."""
    voxels = gaussian_filter(image.get_fdata(dtype=np.float32), 1)
    voxels /= np.median(voxels[voxels > voxels.mean()])
    middle = np.zeros_like(voxels)
    deep = tuple(slice(round(n * 0.3), round(n * 0.7)) for n in voxels.shape)
    middle[deep] = voxels[deep]
    return voxels, np.unravel_index(middle.argmax(), middle.shape)


figure, axes = plt.subplots(1, 4, figsize=(10, 3))
for label, axis in enumerate(axes):
    voxels, (_, _, level) = brightest(images[cases.index[cases.label == label][0]])
    axis.imshow(voxels[::-1, :, level].T, cmap="gray", origin="lower", vmax=2.2)
    axis.set_title(f"{titles[label]} (SYNTHETIC)", fontsize=9)
    axis.set_axis_off()

# %% [markdown]
# ## Train
#
# Seven numbers a head: where its brightest deep voxel is, how bright it is, and how much of the
# middle is bright. None of them looks at a label. `fit_predict` is called once a fold; `test` has
# no column that tells the class, and the model is made inside, so that nothing is carried from fold
# to fold.


# %%
def describe(image):
    voxels, place = brightest(image)
    where = nib.affines.apply_affine(image.affine, place)
    return [*where, voxels[place], *[(voxels > level).mean() for level in (1.3, 1.5, 1.7)]]


features = np.array([describe(image) for image in images])


def with_age(table):
    return np.column_stack([features[table.index], table.age.fillna(45)])


def image_and_age(train, test):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0))
    return model.fit(with_age(train), train.label).predict_proba(with_age(test))


def age_alone(train, test):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0))
    return model.fit(train[["age"]], train.label).predict_proba(test[["age"]])


predictions = bench.cross_validate(image_and_age, cohort)
predictions.head(3).round(2)

# %% [markdown]
# ## Score
#
# The evaluator has the labels and the folds; it takes predictions and nothing else.

# %%
report = bench.evaluate(predictions, cohort)
report

# %% [markdown]
# ## Compare
#
# Is the image worth anything beyond the age? The same cases were predicted twice, so the difference
# is paired.

# %%
bench.compare(predictions, bench.cross_validate(age_alone, cohort), cohort)

# %% [markdown]
# Sixty cases tell little: the interval is wide. On the 249 of `"ictmri-phantom"` it is half as
# wide, and still [near methods cannot be told apart](../docs/uncertainty.md). How to put the result
# on the board: [submit](../docs/submit.md).
