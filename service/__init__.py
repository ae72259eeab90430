"""What users meet: HTTP API, page, client, settings, job and artifact store. Never imports torch or ray."""
