rule clean:
    input:
        inputs("train"),
    output:
        "results/clean/{dataset}/{model}/s{seed}/model.safetensors",
        "results/clean/{dataset}/{model}/s{seed}/predictions.parquet",
        "results/clean/{dataset}/{model}/s{seed}/history.parquet",
        "results/clean/{dataset}/{model}/s{seed}/provenance.json",
    log:
        "logs/clean/{dataset}/{model}/s{seed}.log",
    benchmark:
        "benchmarks/clean/{dataset}/{model}/s{seed}.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(6000),
        runtime=grow(240),
    params:
        command=command("train"),
        settings=settings("train"),
    shell:
        "{params.command} > {log} 2>&1"


rule train:
    input:
        inputs("train"),
    output:
        f"results/victims/{RUN}/model.safetensors",
        f"results/victims/{RUN}/predictions.parquet",
        f"results/victims/{RUN}/history.parquet",
        f"results/victims/{RUN}/provenance.json",
    log:
        f"logs/train/{RUN}.log",
    benchmark:
        f"benchmarks/train/{RUN}.tsv"
    wildcard_constraints:
        attack=names("attack", controls_training=False),
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(6000),
        runtime=grow(240),
    params:
        command=command("train"),
        settings=settings("train"),
    shell:
        "{params.command} > {log} 2>&1"


# An attacker who controls the training leaves the poison behind with the victim.
use rule train as train_controlled with:
    output:
        f"results/victims/{RUN}/model.safetensors",
        f"results/victims/{RUN}/predictions.parquet",
        f"results/victims/{RUN}/history.parquet",
        f"results/victims/{RUN}/provenance.json",
        f"results/victims/{RUN}/poison.safetensors",
    wildcard_constraints:
        attack=names("attack", controls_training=True),


rule clean_all:
    input:
        every("clean"),


rule train_all:
    input:
        every("train"),
