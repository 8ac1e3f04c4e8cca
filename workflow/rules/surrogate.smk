rule surrogate:
    input:
        inputs("surrogate"),
    output:
        "results/surrogates/{dataset}/{model}/{surrogate}/s{seed}/model.safetensors",
        "results/surrogates/{dataset}/{model}/{surrogate}/s{seed}/provenance.json",
    log:
        "logs/surrogate/{dataset}/{model}/{surrogate}/s{seed}.log",
    benchmark:
        "benchmarks/surrogate/{dataset}/{model}/{surrogate}/s{seed}.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(6000),
        runtime=grow(480),
    params:
        command=command("surrogate"),
        settings=settings("surrogate"),
    shell:
        "{params.command} > {log} 2>&1"


rule surrogate_all:
    input:
        every("surrogate"),
