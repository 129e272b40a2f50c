"""Logging in to the Hugging Face Hub."""

from __future__ import annotations


def login(token: str | None = None, *, add_to_git_credential: bool = False, skip_if_logged_in: bool = True) -> None:
    """Save an access token on this machine, so that private and gated repositories can be loaded.

    Hands over to `huggingface_hub.login`: without a token it asks for one, in a terminal or a notebook. The token is
    kept where huggingface_hub, transformers and `hf auth login` keep it.

    Args:
        token: an access token from https://huggingface.co/settings/tokens.
        add_to_git_credential: also give it to git.
        skip_if_logged_in: ask nothing if a token is saved already.

    Raises:
        SourceError: the Hub does not accept the token, or cannot be reached.
    """
    import huggingface_hub

    from intermodal.errors import SourceError
    from intermodal.sources.hub_errors import http_error

    try:
        huggingface_hub.login(token, add_to_git_credential=add_to_git_credential, skip_if_logged_in=skip_if_logged_in)
    except (http_error(), ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SourceError(
            f"Logging in failed: {reason} Make a token at https://huggingface.co/settings/tokens and pass it whole."
        ) from error
