"""The forms of the settings page."""

from __future__ import annotations

from django import forms

from tenants.authentication import SCOPES
from tenants.members import roles_to_give
from tenants.models import Membership, Role

SCOPE_LABELS = {
    "read": "read: search, ask, read documents",
    "write": "write: upload and delete documents",
    "admin": "admin: manage the organisation",
}


class MemberForm(forms.Form):
    """An account to add and the role it gets; only roles that the actor may give are offered."""

    name = forms.CharField(label="User name or e-mail address", max_length=254)
    role = forms.ChoiceField(label="Role")

    def __init__(self, *args: object, actor: Membership, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        role = self.fields["role"]
        assert isinstance(role, forms.ChoiceField)
        role.initial = Role.MEMBER
        role.choices = [(each.value, each.label) for each in roles_to_give(actor)]


class KeyForm(forms.Form):
    """A new API key."""

    key_name = forms.CharField(label="Name", max_length=80)
    scopes = forms.MultipleChoiceField(
        label="Scopes",
        choices=[(scope, SCOPE_LABELS[scope]) for scope in SCOPES],
        widget=forms.CheckboxSelectMultiple,
        initial=["read"],
    )
