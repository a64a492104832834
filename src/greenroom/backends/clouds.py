"""The clouds that serve the models of others: Azure (OpenAI's), Amazon Bedrock and Google Vertex (Anthropic's).

Each is a dialect that we have, behind an address, a path and an authentication of its own. The SDKs know those: deployments and
`api-version`, Amazon's signatures, Google's tokens that expire. So the SDKs are asked, and what is left out here they take from
the variables that their documentation names.

Rule: what is missing is said before anything is sent, with the variable that would help. The SDKs load with the first request.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from greenroom.backends.clients import Client, ClientT, DirectClient, SdkClient
from greenroom.backends.faults import Endpoint
from greenroom.errors import BackendError, BackendRejected, BackendUnauthorized, BackendUnavailable
from greenroom.interfaces import Notice
from greenroom.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import aiohttp
    import httpx2
    from anthropic import AsyncAnthropicBedrock, AsyncAnthropicVertex
    from openai import AsyncAzureOpenAI


class CloudOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a cloud is reached. What is left out is taken from the environment, as the SDKs do it.

    Attributes:
        api_key: Azure: `AZURE_OPENAI_API_KEY`. Bedrock: `AWS_BEARER_TOKEN_BEDROCK`. Vertex: an access token.
        base_url: Azure: `AZURE_OPENAI_ENDPOINT`; with `/openai/v1` at its end it is the newer API, which has no versions. Else in place of the cloud's own address.
        region: Bedrock: `AWS_REGION`. Vertex: `CLOUD_ML_REGION`.
        project: Vertex: `ANTHROPIC_VERTEX_PROJECT_ID`, else the one of the credentials.
        profile: Bedrock: a profile of the AWS configuration.
        api_version: Azure: `OPENAI_API_VERSION`.
    """

    api_key: str | None = None
    base_url: str | None = None
    region: str | None = None
    project: str | None = None
    profile: str | None = None
    api_version: str | None = None


NO_OPTIONS: Final = CloudOptions()
"""Everything from the environment."""


class CloudClient(SdkClient[ClientT]):
    """Asks by means of an SDK that finds credentials by itself, and says so when it finds none."""

    credentials_hint: str = ""

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, weight: int = 0
    ) -> aiohttp.ClientResponse:
        """Posts `body`; see `Client.post`.

        Raises:
            BackendUnauthorized: there are no credentials, or they cannot be used.
            BackendError: the provider refused.
            Exception: whatever `map_exceptions` knows.
        """
        try:
            return await super().post(path, body, headers, weight=weight)
        except Exception as error:
            # By name: naming the classes would load libraries that may not be installed.
            names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
            who = self.endpoint.provider
            if "google.TransportError" in names or "botocore.HTTPClientError" in names:
                raise BackendUnavailable(f"the credentials for {who} cannot be renewed: no connection") from error
            if isinstance(error, RuntimeError) or names & {"google.GoogleAuthError", "botocore.BotoCoreError"}:
                raise BackendUnauthorized(
                    f"there are no credentials for {who} that can be used", hint=self.credentials_hint
                ) from error
            raise


class CloudConnection:
    """The client for one cloud, made at the first request.

    Attributes:
        is_own: its provider has all of its dialects there.
        is_openai: OpenAI itself is asked.
    """

    is_own: Final = True
    is_openai: Final = False

    def __init__(self, make: Callable[[], Client]) -> None:
        """`make` may raise for what is not set: it is asked again with the next request."""
        self._make = make
        self._client: Client | None = None

    def client(self) -> Client:
        """Returns the client.

        Raises:
            BackendError: something that it needs is not set.
        """
        if self._client is None:
            self._client = self._make()
        return self._client

    async def list_models(self) -> None:
        """Returns nothing: a cloud lists what could be deployed, not what is."""

    def end_notices(self, _: str) -> Sequence[Notice]:
        """Returns nothing: clouds keep models for longer, or not as long, and do not say so here."""
        return ()

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def azure_client(options: CloudOptions, limits: Limits = DEFAULT_LIMITS) -> Client:
    """Returns a client for Azure OpenAI. The model of a request is the name of a deployment.

    Azure has two kinds of address: one with versions, whose paths only the SDK knows (Chat Completions have the deployment in
    them, Responses have it in the body), and a plain one that ends in `/openai/v1`.

    Raises:
        BackendRejected: no address or no version is set.
        BackendUnauthorized: no key is set.
    """
    environment = os.environ
    token = environment.get("AZURE_OPENAI_AD_TOKEN", "") if not options.api_key else ""
    key = options.api_key or token or environment.get("AZURE_OPENAI_API_KEY", "")
    version = options.api_version or environment.get("OPENAI_API_VERSION", "")
    endpoint = Endpoint(
        provider="Azure OpenAI",
        base_url=options.base_url or environment.get("AZURE_OPENAI_ENDPOINT", ""),
        key=key,
        key_variable="AZURE_OPENAI_API_KEY",
        base_url_variable="AZURE_OPENAI_ENDPOINT",
    )
    if not endpoint.base_url:
        raise _missing(endpoint, "address", "AZURE_OPENAI_ENDPOINT", "base_url")
    is_plain = is_plain_azure(endpoint.base_url)
    if not version and not is_plain:
        raise _missing(endpoint, "API version", "OPENAI_API_VERSION", "api_version")
    if not key:
        raise BackendUnauthorized(
            "there is no key for Azure OpenAI", hint="set AZURE_OPENAI_API_KEY, or AZURE_OPENAI_AD_TOKEN to a token"
        )
    if is_plain:
        # A key in its own header, as ever; tokens come as they do everywhere.
        headers = {"authorization": f"Bearer {token}"} if token else {"api-key": key}
        return DirectClient(endpoint, headers=headers, limits=limits)

    def build(http_client: httpx2.AsyncClient) -> AsyncAzureOpenAI:
        from openai import AsyncAzureOpenAI

        credentials: dict[str, Any] = {"azure_ad_token": token} if token else {"api_key": key}
        return AsyncAzureOpenAI(
            azure_endpoint=endpoint.base_url,
            api_version=version,
            max_retries=0,
            http_client=http_client,
            **credentials,
        )

    return SdkClient(endpoint, build=build, limits=limits)


def bedrock_client(options: CloudOptions, limits: Limits = DEFAULT_LIMITS) -> SdkClient[AsyncAnthropicBedrock]:
    """Returns a client for Claude on Amazon Bedrock; answers come in Amazon's frames (`bedrock_frames`).

    Raises:
        BackendRejected: no region is set.
    """
    environment = os.environ
    region = options.region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", "")
    if not region:
        raise BackendRejected("no region is set for Amazon Bedrock", hint=_hint("AWS_REGION", "region"))
    # A profile is meant before a key that only happens to be in the environment.
    key = options.api_key or ("" if options.profile else environment.get("AWS_BEARER_TOKEN_BEDROCK", ""))
    named = options.base_url or environment.get("ANTHROPIC_BEDROCK_BASE_URL", "")
    endpoint = Endpoint(
        provider="Amazon Bedrock",
        base_url=named or f"https://bedrock-runtime.{region}.amazonaws.com",
        key=key,
        key_variable="AWS_BEARER_TOKEN_BEDROCK",
        base_url_variable="ANTHROPIC_BEDROCK_BASE_URL",
    )

    def build(http_client: httpx2.AsyncClient) -> AsyncAnthropicBedrock:
        # Also with a key, which needs no signature: the frames of the answer are botocore's.
        _needs("bedrock", "boto3", endpoint)
        from anthropic import AsyncAnthropicBedrock

        import greenroom.backends.bedrock_frames  # noqa: F401 - here, in a thread, so that the event loop need not wait for it

        return AsyncAnthropicBedrock(
            api_key=key or None,
            aws_region=region,
            aws_profile=options.profile,
            base_url=endpoint.base_url,
            max_retries=0,
            http_client=http_client,
        )

    client = CloudClient(endpoint, build=build, limits=limits)
    client.credentials_hint = (
        "set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    )
    return client


def vertex_client(options: CloudOptions, limits: Limits = DEFAULT_LIMITS) -> SdkClient[AsyncAnthropicVertex]:
    """Returns a client for Claude on Google Vertex.

    Raises:
        BackendRejected: no region is set, or no project beside a token.
    """
    environment = os.environ
    region = options.region or environment.get("CLOUD_ML_REGION", "")
    if not region:
        raise BackendRejected("no region is set for Google Vertex", hint=_hint("CLOUD_ML_REGION", "region"))
    project = options.project or environment.get("ANTHROPIC_VERTEX_PROJECT_ID", "")
    named = options.base_url or environment.get("ANTHROPIC_VERTEX_BASE_URL", "")
    endpoint = Endpoint(
        provider="Google Vertex",
        base_url=named or _vertex_url(region),
        key=options.api_key or "",
        key_variable="GOOGLE_APPLICATION_CREDENTIALS",
        base_url_variable="ANTHROPIC_VERTEX_BASE_URL",
    )
    if options.api_key and not project:
        raise _missing(endpoint, "project", "ANTHROPIC_VERTEX_PROJECT_ID", "project")

    def build(http_client: httpx2.AsyncClient) -> AsyncAnthropicVertex:
        if not options.api_key:
            _needs("vertex", "google.auth", endpoint)
        from anthropic import AsyncAnthropicVertex

        arguments: dict[str, Any] = {"project_id": project} if project else {}
        return AsyncAnthropicVertex(
            region=region,
            access_token=options.api_key,
            base_url=endpoint.base_url,
            max_retries=0,
            http_client=http_client,
            **arguments,
        )

    client = CloudClient(endpoint, build=build, limits=limits)
    client.credentials_hint = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
    return client


def is_plain_azure(base_url: str) -> bool:
    """Returns whether an address of Azure is that of the API without versions."""
    try:
        return urlsplit(base_url).path.rstrip("/").endswith("/openai/v1")
    except ValueError:  # not a URL: the client says so
        return False


def is_installed(package: str) -> bool:
    """Returns whether a package is there, without loading it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it is not
        return False


def _vertex_url(region: str) -> str:
    """Returns Google's address, as the SDK would."""
    if region == "global":
        return "https://aiplatform.googleapis.com/v1"
    if region in {"us", "eu"}:
        return f"https://aiplatform.{region}.rep.googleapis.com/v1"
    return f"https://{region}-aiplatform.googleapis.com/v1"


def _needs(extra: str, package: str, endpoint: Endpoint) -> None:
    if not is_installed(package):
        raise BackendRejected(
            f"{endpoint.provider} needs the package {package}, which is not installed",
            hint=f"pip install 'greenroom[{extra}]'",
        )


def _missing(endpoint: Endpoint, what: str, variable: str, setting: str) -> BackendError:
    return BackendRejected(f"no {what} is set for {endpoint.provider}", hint=_hint(variable, setting))


def _hint(variable: str, setting: str) -> str:
    return f"set {variable}, or {setting} of the backend in greenroom.toml"
