r"""How-tos: your own scenes, labels and classes; GPUs, clusters, sharing; coming from TerraTorch.

## Scenes of your own

`geofm info SCENE` says what a scene is and what it lacks before it can be mapped. What a file does
not tell, you tell:

```
geofm info scene.tif
geofm map flood.geofm scene.tif -o flood.tif --bands blue,green,red,nir08,swir16,swir22 \
        --scale 0.0001 --level surface
geofm map flood.geofm b02.tif b03.tif b04.tif b8a.tif b11.tif b12.tif -o flood.tif \
        --sensor sentinel-2 --scale 0.0001 --level toa
```

In Python the flags are arguments: `geofm.open_scene("scene.tif", bands=[...], scale=1e-4,
level="surface")`. Product folders (HLS, SAFE, Landsat) and STAC items need none of this.

A scene that differs from what a model was taught with is refused with the next step. What you
decide to accept is written into the map's receipt: `--accept nir08=nir` lets a similar band stand
in, `--accept resolution=any` another ground resolution.

## Labels of your own

Label rasters pair with images by file name. Polygons and points (GeoPackage, GeoParquet, GeoJSON,
shapefile) are drawn onto every image that they touch.

```
geofm check --task flood --images chips --labels water.gpkg \
        --codes 'lake=water,field=not water' --column kind --html check.html
geofm finetune --task flood --images chips --labels water.gpkg \
        --codes 'lake=water,field=not water' --column kind -o flood.geofm
```

What is not labelled is neither learnt nor scored. Draw what the map shall *not* show as well, or
give `--background 'not water'` where everything outside your polygons is known. Ten polygons are a
beginning; the notebook `03_flood_few_labels` goes that way.

For many places a catalogue says more than folders: a table with the columns `image`, `label`, and,
where known, `date`, `group` (what may not be split), `split` and `region`.

```
geofm finetune --task flood --catalog pairs.csv -o flood.geofm
geofm evaluate flood.geofm --catalog pairs.csv --split test --html flood.html
```

## Classes of your own

`--task custom --legend legend.csv`, where the legend has a row a class: `code` (from 0), `name`,
`color` (`#rrggbb`), and `stored`, the number or word that stands for it in your labels.

```
geofm finetune --task custom --legend legend.csv --images chips --labels labels \
        -o habitats.geofm
```

In Python: `geofm.finetune("habitats", pairs, classes=[geofm.MapClass("reed", "#a3c585"), ...])`.

## A GPU node

Install as everywhere; torch's own build for CUDA is what `pip` brings on Linux. `geofm doctor` says
whether torch sees the GPU. Maps and trainings use it without being asked.

```
geofm doctor
geofm pretrain scenes -o encoder.geofm --devices auto --compile yes
geofm batch flood.geofm scenes -o maps
```

`--batch-size` is that of a whole step, however many devices share it, so that the curve stays.
Where memory is short, `--accumulate` and `--recompute` trade time for it. `geofm batch` starts one
worker a GPU.

## SLURM

Trainings keep a checkpoint and stop at SIGTERM; `--resume` goes on to the same curve, and begins
where there is nothing to go on with. So one script may be queued again and again:

```
#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --time=04:00:00
#SBATCH --signal=TERM@300 --requeue
srun geofm pretrain scenes.txt -o encoder.geofm --devices 8 --num-nodes 2 --resume
```

Maps of many scenes go to Dask workers that share the disk; the same command again goes on where a
night ended.

```
#!/bin/bash
#SBATCH --nodes=4 --ntasks-per-node=1 --cpus-per-task=16 --time=08:00:00
dask scheduler --port 8786 &
srun --ntasks=4 dask worker tcp://$(hostname):8786 --nworkers 16 --nthreads 1 &
geofm batch flood.geofm scenes.parquet -o maps --scheduler tcp://$(hostname):8786
```

Or let Dask ask SLURM for the workers (`pip install dask-jobqueue 'geofm[cluster]'`), each in a job
of its own:

```python
from dask_jobqueue import SLURMCluster

with SLURMCluster(
    queue="main", cores=1, processes=1, memory="6GiB", walltime="04:00:00",
    scheduler_options={"dashboard": False},
) as cluster:
    cluster.scale(jobs=16)
    report = geofm.map_batch(
        "flood.geofm", "scenes.parquet", "maps", scheduler=cluster.scheduler_address
    )
```

`memory` is what Dask ends a worker at: leave it above `--memory` (2 GiB) and the model. One GPU a
worker is `queue="gpu", job_cpu=4, job_extra_directives=["--gres=gpu:1"]`. What SLURM gets is
shown by `print(cluster.job_script())`:

```
#SBATCH -J dask-worker
#SBATCH -p main
#SBATCH -n 1
#SBATCH --cpus-per-task=1
#SBATCH --mem=6G
#SBATCH -t 04:00:00
python -m distributed.cli.dask_worker tcp://10.0.0.1:8786 --nthreads 1 --memory-limit 6.00GiB ...
```

Model, scenes and maps lie on a disk that all nodes see under one path; a worker that does not see
it ends the batch. A worker that dies costs the scene that it had in work; a scheduler that is lost
is waited for, ten minutes long.

Processes under torchrun's and SLURM's variables were tested on one machine. A SLURM cluster was not
at hand: read these scripts as a beginning.

## Sharing a model

A model folder is files: weights, `model.json`, a model card and a STAC item. Any way to move files
moves a model, and `geofm info` says whether it arrived whole. With the Hugging Face Hub's own tool:

```
hf upload YOU/flood flood.geofm
hf download YOU/flood --local-dir flood.geofm
```

`geofm evaluate flood.geofm --catalog test.csv --write-card` keeps scores, with their intervals, on
the card. Read its licences before you send it: they name those of the pixels, the labels and the
encoder that it was made from.

## Coming from TerraTorch

| there | here |
|---|---|
| `terratorch fit -c config.yaml` | `geofm finetune`, with flags or `--config run.toml` |
| `terratorch test` | `geofm evaluate`: the blended map is scored, with intervals |
| `terratorch predict` with tiles | `geofm map`: windows are planned, memory is bounded |
| `BLUE`, `NIR_NARROW`, `SWIR_1`, `SWIR_2` | `blue`, `nir08`, `swir16`, `swir22` |
| `constant_scale: 0.0001` | `--scale 0.0001`, where the file does not say |
| `means`, `stds` | measured from what you train on, and kept in the model |
| `no_label_replace`, `ignore_index` | labels that are no class, and no data, are left out |
| `backbone: prithvi_eo_v2_300_tl` | `--encoder prithvi-eo-2.0-300m-tl` |
| a checkpoint | `geofm import best.ckpt --config config.yaml -o mine.geofm` |

Prithvi models with the decoders FCN, U-Net and UPerNet come over and give the same logits. Other
backbones, and regression, classification and detection, do not.
"""
