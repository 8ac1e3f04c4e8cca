rule report:
    input:
        inputs("report"),
    output:
        "results/board.parquet",
        report("results/board.csv", caption="../report/board.rst", category="Board"),
        report("results/costs.csv", caption="../report/costs.rst", category="Board"),
        report("results/summary.csv", caption="../report/summary.rst", category="Board"),
        "results/summary.md",
        "results/metrics.json",
        report(
            "results/statistics.csv",
            caption="../report/statistics.rst",
            category="Board",
        ),
        "results/statistics.json",
        report(
            "results/stability.csv",
            caption="../report/stability.rst",
            category="Board",
        ),
        report(
            "results/clean_sets.csv",
            caption="../report/clean_sets.rst",
            category="Board",
        ),
        report(
            "results/training.csv",
            caption="../report/training.rst",
            category="Board",
        ),
        report(
            "results/population.csv",
            caption="../report/population.rst",
            category="Board",
        ),
        "results/population.md",
        report("results/plots/asr.svg", caption="../report/asr.rst", category="Plots"),
        report(
            "results/plots/c_acc.svg", caption="../report/c_acc.rst", category="Plots"
        ),
        report(
            "results/plots/clean_sets.svg",
            caption="../report/clean_sets.rst",
            category="Plots",
        ),
        report(
            "results/plots/ranks.svg", caption="../report/ranks.rst", category="Plots"
        ),
        report("results/plots/roc.svg", caption="../report/roc.rst", category="Plots"),
        report(
            "results/plots/stability.svg",
            caption="../report/stability.rst",
            category="Plots",
        ),
        report(
            "results/plots/tradeoff.svg",
            caption="../report/tradeoff.rst",
            category="Plots",
        ),
        "results/report/index.html",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=grow(2000),
        runtime=grow(30),
    params:
        command=command("report"),
        settings=settings("report"),
    shell:
        "{params.command} > {log} 2>&1"


rule report_all:
    input:
        every("report"),
