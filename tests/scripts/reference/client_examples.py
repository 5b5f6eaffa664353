"""A line for each public method of the client. tests/packaging/test_readme.py runs all of them in this order."""

#: What the lines below need.
PREAMBLE = """from imagefleet import Client, ClientSettings

client = Client.from_env()
job_id = client.submit("a red fox", steps=2)
"""
EXAMPLES = {
    "from_env": "client = Client.from_env()",
    "from_settings": "client = Client.from_settings(ClientSettings.from_env())",
    "submit": 'job_id = client.submit("a red fox", steps=4, seed=7, job_id="order-4711")',
    "submit_many": 'ids = client.submit_many(["a red fox", {"prompt": "an owl", "steps": 8}], group="calendar-2031")',
    "get": "print(client.get(job_id).attempts)",
    "status": "print(client.status(job_id))",
    "outlook": "print(client.outlook(job_id).eta_s)",
    "result": "print(client.result(job_id, timeout_s=600).raise_for_status().artifacts[0].uri)",
    "url": "print(client.url(client.result(job_id).artifacts[0], expires_s=600))",
    "as_completed": "print([result.status for result in client.as_completed(ids, timeout_s=600)])",
    "map": 'print([result.id for result in client.map(["a fox", "a hare"], steps=4, timeout_s=600)])',
    "events": "print([event.status for event in client.events(job_id, timeout_s=600)])",
    "cancel": "print(client.cancel(job_id))",
    "cancel_group": 'print(client.cancel_group("calendar-2031").canceled)',
    "queues": "print([(queue.name, queue.waiting) for queue in client.queues()])",
    "workers": "print([(worker.name, worker.state) for worker in client.workers()])",
    "overview": "print(client.overview().dead_letters)",
    "queue_length": 'print(client.queue_length("default"))',
    "close": "client.close()",
}
