rule evaluate:
    input:
        inputs("evaluate"),
    output:
        f"results/metrics/{RUN}.json",
    log:
        f"logs/evaluate/{RUN}.log",
    benchmark:
        f"benchmarks/evaluate/{RUN}.tsv"
    threads: 1
    resources:
        mem_mb=grow(1000),
        runtime=grow(30),
    params:
        command=command("evaluate"),
        settings=settings("evaluate"),
    shell:
        "{params.command} > {log} 2>&1"


rule evaluate_all:
    input:
        every("evaluate"),
