KEPT = (
    [f"results/cells/{RUN}/{{defense}}/model.safetensors"]
    if PLAN.settings.keep_defended_models
    else []
)


rule defend:
    input:
        inputs("defend"),
    output:
        f"results/cells/{RUN}/{{defense}}/predictions.parquet",
        f"results/cells/{RUN}/{{defense}}/scores.parquet",
        f"results/cells/{RUN}/{{defense}}/provenance.json",
        KEPT,
    log:
        f"logs/defend/{RUN}/{{defense}}.log",
    benchmark:
        f"benchmarks/defend/{RUN}/{{defense}}.tsv"
    wildcard_constraints:
        defense=names("defense", mitigates=True, evidence=False),
    threads: 1
    resources:
        gpu=1,
        mem_mb=grow(6000),
        runtime=grow(240),
    params:
        command=command("defend"),
        settings=settings("defend"),
    shell:
        "{params.command} > {log} 2>&1"


# A defense that only detects leaves no model of its own.
use rule defend as detect with:
    output:
        f"results/cells/{RUN}/{{defense}}/predictions.parquet",
        f"results/cells/{RUN}/{{defense}}/scores.parquet",
        f"results/cells/{RUN}/{{defense}}/provenance.json",
    wildcard_constraints:
        defense=names("defense", mitigates=False, evidence=False),


# What a defense found, it leaves beside the cell.
use rule defend as defend_with_evidence with:
    output:
        f"results/cells/{RUN}/{{defense}}/predictions.parquet",
        f"results/cells/{RUN}/{{defense}}/scores.parquet",
        f"results/cells/{RUN}/{{defense}}/provenance.json",
        KEPT,
        f"results/cells/{RUN}/{{defense}}/evidence.safetensors",
    wildcard_constraints:
        defense=names("defense", mitigates=True, evidence=True),


use rule defend as detect_with_evidence with:
    output:
        f"results/cells/{RUN}/{{defense}}/predictions.parquet",
        f"results/cells/{RUN}/{{defense}}/scores.parquet",
        f"results/cells/{RUN}/{{defense}}/provenance.json",
        f"results/cells/{RUN}/{{defense}}/evidence.safetensors",
    wildcard_constraints:
        defense=names("defense", mitigates=False, evidence=True),


rule defend_all:
    input:
        every("defend"),
