"""Django with plain Celery and without the package imagefleet: `link` stores an image, `chord` an album of several.

celery -A gallery worker -Q gallery        # the callbacks
python gallery.py runserver                # POST prompt=... to /images or /albums; GET /images
"""

import os
import sys

import django
from celery import Celery, chord
from django.conf import settings

database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "gallery.db"}
settings.configure(DEBUG=True, ROOT_URLCONF=__name__, DATABASES={"default": database})
django.setup()

from django.core.management import execute_from_command_line  # noqa: E402  # after the settings
from django.db import connection, models  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

redis = os.environ["IMAGEFLEET_REDIS_URL"]
app = Celery("gallery", broker=redis, backend=redis, task_default_queue="gallery")


class Picture(models.Model):
    """One stored image."""

    prompt, uri, album = models.TextField(), models.TextField(), models.TextField()
    Meta = type("Meta", (), {"app_label": "gallery", "db_table": "pictures"})


if "pictures" not in connection.introspection.table_names():  # a project has migrations
    with connection.schema_editor() as editor:
        editor.create_model(Picture)


def image(prompt: str):
    """The signature of a job; `imagefleet.default` is the queue of the model `default`."""
    kwargs = {"job": {"prompt": prompt, "metadata": {"prompt": prompt}}}
    return app.signature("imagefleet.generate", kwargs=kwargs, queue="imagefleet.default")


@app.task(name="gallery.keep")
def keep(result: dict, album: str = "") -> None:
    """Store what a job made; called with its result, as a mapping."""
    for artifact in result["artifacts"]:
        Picture.objects.create(prompt=result["metadata"]["prompt"], uri=artifact["uri"], album=album)


@app.task(name="gallery.keep_album")
def keep_album(results: list[dict], album: str) -> None:
    """Store what several jobs made, when all have succeeded."""
    for result in results:
        keep(result, album)


def images(request: HttpRequest) -> JsonResponse:
    """GET all pictures; POST one prompt."""
    if request.method == "POST":
        job = image(request.POST["prompt"]).apply_async(link=keep.s().set(queue="gallery"))
        return JsonResponse({"id": job.id}, status=202)
    return JsonResponse({"pictures": list(Picture.objects.values("prompt", "uri", "album"))})


def albums(request: HttpRequest) -> JsonResponse:
    """POST several prompts, which become one album."""
    jobs = map(image, request.POST.getlist("prompt"))
    album = chord(jobs)(keep_album.s(request.POST["album"]).set(queue="gallery"))
    return JsonResponse({"id": album.id}, status=202)


urlpatterns = [path("images", images), path("albums", albums)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
