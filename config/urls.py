"""Every route of the product, by package."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from config import evaluations_page
from config.engine_page import engine_page
from config.health import healthz, readyz
from config.metrics import metrics
from config.queue_page import queue_page, retry_failed
from config.views import ApiDocsView

_SUITE = "admin/evaluations/<slug:suite>/"

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/engine/", engine_page, name="engine"),
    path("admin/queue/", queue_page, name="queue"),
    path("admin/queue/retry", retry_failed, name="queue-retry"),
    path("admin/evaluations/", evaluations_page.evaluations_page, name="operator-evaluations"),
    path(_SUITE, evaluations_page.suite_page, name="operator-evaluation"),
    path(f"{_SUITE}compare", evaluations_page.comparison_page, name="operator-evaluation-comparison"),
    path(f"{_SUITE}runs/<uuid:run_id>/", evaluations_page.run_page, name="operator-evaluation-detail"),
    path(
        f"{_SUITE}runs/<uuid:run_id>/<int:number>/",
        evaluations_page.result_page,
        name="operator-evaluation-result",
    ),
    path("admin/", admin.site.urls),
    path("accounts/", include("tenants.signin_urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/docs/", ApiDocsView.as_view(), name="api-docs"),
    path("api/v1/", include("ingestion.api_urls")),
    path("api/v1/", include("search.api_urls")),
    path("", include("tenants.urls")),
    path("o/<slug:organization>/", include("ingestion.urls")),
    path("o/<slug:organization>/", include("search.urls")),
]

handler400 = "config.views.bad_request"
handler403 = "config.views.permission_denied"
handler404 = "config.views.not_found"
handler500 = "config.views.server_error"
