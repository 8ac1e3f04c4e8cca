rule analyze:
    input:
        inputs("analyze"),
    output:
        report(
            f"results/analyses/{RUN}/{{tool}}.svg",
            caption="../report/analysis.rst",
            category="Analyses",
            subcategory="{tool}",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "attack": "{attack}",
                "ratio": "{ratio}",
                "seed": "{seed}",
            },
        ),
        f"results/analyses/{RUN}/{{tool}}.parquet",
    log:
        f"logs/analyze/{RUN}/{{tool}}.log",
    benchmark:
        f"benchmarks/analyze/{RUN}/{{tool}}.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(4000),
        runtime=grow(60),
    params:
        command=command("analyze"),
        settings=settings("analyze"),
    shell:
        "{params.command} > {log} 2>&1"


use rule analyze as analyze_cell with:
    output:
        report(
            f"results/analyses/{RUN}/{{defense}}/{{tool}}.svg",
            caption="../report/analysis.rst",
            category="Analyses",
            subcategory="{tool}",
            labels={
                "dataset": "{dataset}",
                "model": "{model}",
                "attack": "{attack}",
                "ratio": "{ratio}",
                "seed": "{seed}",
                "defense": "{defense}",
            },
        ),
        f"results/analyses/{RUN}/{{defense}}/{{tool}}.parquet",
    log:
        f"logs/analyze/{RUN}/{{defense}}/{{tool}}.log",
    benchmark:
        f"benchmarks/analyze/{RUN}/{{defense}}/{{tool}}.tsv"


rule analyze_all:
    input:
        every("analyze"),
