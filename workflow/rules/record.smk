# Needs every output, so that DVC never takes note of half a grid, and so that an intermediate that
# was deleted is made again even while the end is fresh.
rule record:
    input:
        every("prepare"),
        every("clean"),
        every("poison"),
        every("train"),
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
