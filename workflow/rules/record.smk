# Needs every output, so that DVC never takes note of half a grid.
rule record:
    input:
        every("prepare"),
        every("clean"),
        every("surrogate"),
        every("trigger"),
        every("poison"),
        every("train"),
        every("features"),
        every("defend"),
        every("evaluate"),
        every("analyze"),
        every("report"),
    output:
        "logs/recorded",
    log:
        "logs/record.log",
    params:
        state=JOBS.state(),
    shell:
        "python -m bdb record > {log} 2>&1"
