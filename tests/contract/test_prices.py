"""What models cost by their names, those that gateways put together among them.

Case P18 (BerriAI/litellm#11789): names with a prefix had no price, so no money budget could be kept over a gateway.
"""

from __future__ import annotations

import pytest

from greenroom.messages import Usage
from greenroom.prices import PriceTable

USED = Usage(input_tokens=1000, output_tokens=1000)


@pytest.mark.parametrize(
    ("backend", "model", "own_backend", "own_model"),
    [
        ("openai", "anthropic/claude-sonnet-4-5", "claude", "claude-sonnet-4-5"),
        ("openai", "openrouter/anthropic/claude-sonnet-4.5", "claude", "claude-sonnet-4-5"),
        ("openai", "openai/gpt-4o", "openai", "gpt-4o"),
        ("openai", "litellm_proxy/openai/gpt-4o", "openai", "gpt-4o"),
        ("openai", "azure/gpt-4o", "azure", "gpt-4o"),
        ("openai", "vertex_ai/claude-sonnet-4-5", "claude", "claude-sonnet-4-5"),
        (
            "openai",
            "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("openai", "openai/gpt-4o:nitro", "openai", "gpt-4o"),
        ("claude", "anthropic/claude-sonnet-4-5", "claude", "claude-sonnet-4-5"),
        ("openai-responses", "openai/gpt-4o", "openai", "gpt-4o"),
    ],
)
def test_a_gateway_s_name_has_the_price_of_its_model(
    backend: str, model: str, own_backend: str, own_model: str
) -> None:
    table = PriceTable(None)
    cost = table.cost_usd(USED, backend=backend, model=model)
    assert cost is not None
    assert cost > 0
    # Vertex sells Claude at Anthropic's price, within what a region adds.
    assert cost == pytest.approx(table.cost_usd(USED, backend=own_backend, model=own_model), rel=0.15)
    assert table.context_window(backend=backend, model=model)


@pytest.mark.parametrize(
    "model",
    [
        "meta-llama/Llama-3.3-70B-Instruct",
        "my-company/gpt-4o",
        "openai/a-model-of-one-s-own",
        "anthropic/",
        "/gpt-4o",
        "openrouter/",
    ],
)
def test_a_name_that_no_gateway_made_has_no_price(model: str) -> None:
    assert PriceTable(None).cost_usd(USED, backend="openai", model=model) is None
