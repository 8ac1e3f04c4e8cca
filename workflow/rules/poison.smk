rule poison:
    input:
        inputs("poison"),
    output:
        f"data/poisoned/{RUN}/poison.safetensors",
        f"data/poisoned/{RUN}/provenance.json",
    log:
        f"logs/poison/{RUN}.log",
    benchmark:
        f"benchmarks/poison/{RUN}.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(4000),
        runtime=grow(120),
    params:
        command=command("poison"),
        settings=settings("poison"),
    shell:
        "{params.command} > {log} 2>&1"


rule poison_all:
    input:
        every("poison"),
