"""The routes of an organisation's settings."""

from __future__ import annotations

from django.urls import path

from tenants import views

_SETTINGS = "o/<slug:organization>/settings/"

urlpatterns = [
    path("", views.home, name="home"),
    path(_SETTINGS, views.settings_page, name="settings"),
    path(f"{_SETTINGS}members/add/", views.member_add, name="settings-member-add"),
    path(f"{_SETTINGS}members/<int:member>/role/", views.member_role, name="settings-member-role"),
    path(f"{_SETTINGS}members/<int:member>/remove/", views.member_remove, name="settings-member-remove"),
    path(f"{_SETTINGS}keys/create/", views.key_create, name="settings-key-create"),
    path(f"{_SETTINGS}keys/<int:key>/revoke/", views.key_revoke, name="settings-key-revoke"),
]
