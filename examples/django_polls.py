# Polls in Django, in one file. Whoever locks /polls/1 also stops the votes on /polls/1/tea. In this directory:
#     gunicorn --bind 127.0.0.1:8000 django_polls:application
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from locklib.wsgi import LockMiddleware

CSRF = "django.middleware.csrf.CsrfViewMiddleware"
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="an example", ALLOWED_HOSTS=["127.0.0.1"], MIDDLEWARE=[CSRF])
polls = {1: {"tea": 0, "coffee": 0}}


@csrf_exempt  # an API for programs: no browser brings its cookies here
def poll(request, number, choice=None):
    if request.method == "PUT":
        polls[number] = dict.fromkeys(request.body.decode().split(), 0)
    elif request.method == "POST":
        polls[number][choice] += 1
    return JsonResponse(polls[number])


urlpatterns = [path("polls/<int:number>", poll), path("polls/<int:number>/<choice>", poll)]
application = LockMiddleware(get_wsgi_application())
