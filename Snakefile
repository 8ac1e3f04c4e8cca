from snakemake.common.configfile import load_configfile
from snakemake.utils import min_version, validate

min_version("9.0")


# First, since it reads params.yaml with care: a mistake in there is one line, and exit code 2.
include: "workflow/rules/common.smk"


configfile: "params.yaml"


with one_line():
    engines.refuse_other_params(config, load_configfile("params.yaml"))


validate(config, "workflow/schemas/params.schema.yaml", set_default=False)


report: "workflow/report/workflow.rst"


container: "docker://python:3.11-slim"


include: "workflow/rules/scheduler.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/surrogate.smk"
include: "workflow/rules/trigger.smk"
include: "workflow/rules/poison.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/defend.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/analyze.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/record.smk"


localrules:
    all,
    record,
    prepare_all,
    clean_all,
    surrogate_all,
    trigger_all,
    poison_all,
    train_all,
    features_all,
    defend_all,
    evaluate_all,
    analyze_all,
    report_all,


# Every intermediate is named: one that was deleted is made again even while the end is fresh.
rule all:
    default_target: True
    input:
        rules.record.input,
        rules.record.output,
