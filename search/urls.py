"""The routes of searching and asking under ``/o/<slug>/``."""

from __future__ import annotations

from django.urls import include, path

from search import views

urlpatterns = [
    path("", include("search.evaluation.urls")),
    path("", views.search, name="search"),
    path("ask", views.ask, name="ask"),
    path("turns/<uuid:turn_id>", views.turn, name="turn"),
    path("turns/<uuid:turn_id>/events", views.turn_events, name="turn-events"),
    path("turns/<uuid:turn_id>/stop", views.turn_stop, name="turn-stop"),
    path("turns/<uuid:turn_id>/regenerate", views.turn_regenerate, name="turn-regenerate"),
    path("conversations/", views.conversation_list, name="conversations"),
    path("conversations/<uuid:conversation_id>/", views.conversation, name="conversation"),
    path(
        "conversations/<uuid:conversation_id>/delete", views.conversation_delete, name="conversation-delete"
    ),
]
