onstart:
    # Of every job that ends one more timer would stay, which wakes the scheduler each second, for
    # good: while hundreds of jobs wait, Snakemake (9.27) would take a core for itself. So no limit
    # on how many jobs start in a second; that of a batch system stands in its profile.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
