rule prepare:
    input:
        inputs("prepare"),
    output:
        "data/prepared/{dataset}/train.safetensors",
        "data/prepared/{dataset}/test.safetensors",
        "data/prepared/{dataset}/provenance.json",
    log:
        "logs/prepare/{dataset}.log",
    benchmark:
        "benchmarks/prepare/{dataset}.tsv"
    threads: 1
    resources:
        mem_mb=grow(4000),
        runtime=grow(60),
    params:
        command=command("prepare"),
        settings=settings("prepare"),
    shell:
        "{params.command} > {log} 2>&1"


rule prepare_all:
    input:
        every("prepare"),
