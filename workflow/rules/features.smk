rule features:
    input:
        inputs("features"),
    output:
        f"results/features/{RUN}/features.safetensors",
        f"results/features/{RUN}/provenance.json",
    log:
        f"logs/features/{RUN}.log",
    benchmark:
        f"benchmarks/features/{RUN}.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(4000),
        runtime=grow(60),
    params:
        command=command("features"),
        settings=settings("features"),
    shell:
        "{params.command} > {log} 2>&1"


rule features_all:
    input:
        every("features"),
