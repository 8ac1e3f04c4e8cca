rule trigger:
    input:
        inputs("trigger"),
    output:
        "results/triggers/{dataset}/{model}/{attack}/s{seed}/trigger.safetensors",
        "results/triggers/{dataset}/{model}/{attack}/s{seed}/provenance.json",
    log:
        "logs/trigger/{dataset}/{model}/{attack}/s{seed}.log",
    benchmark:
        "benchmarks/trigger/{dataset}/{model}/{attack}/s{seed}.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(6000),
        runtime=grow(240),
    params:
        command=command("trigger"),
        settings=settings("trigger"),
    shell:
        "{params.command} > {log} 2>&1"


rule trigger_all:
    input:
        every("trigger"),
