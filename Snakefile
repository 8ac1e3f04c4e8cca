from snakemake.utils import min_version

min_version("9.0")


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


container: "docker://python:3.11-slim"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/poison.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/defend.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/analyze.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    prepare_all,
    clean_all,
    poison_all,
    train_all,
    defend_all,
    evaluate_all,
    analyze_all,


# Every intermediate is named: one that was deleted is made again even while the end is fresh.
rule all:
    default_target: True
    input:
        every("poison"),
        every("train"),
        every("defend"),
        every("analyze"),
        every("report"),
