"""`/v1/usage`, and users whose budget is used up."""

from __future__ import annotations

from greenroom.backends.scripted import Finish, Say
from greenroom.messages import Usage
from server.conftest import OTHER, OpenWeb


async def test_usage_is_of_the_user_who_asks(open_web: OpenWeb) -> None:
    web = open_web(
        [[Say("One."), Finish(usage=Usage(input_tokens=60, output_tokens=40))]], config={"user_budget": {"tokens": 100}}
    )
    session_id = (await web.post("/v1/sessions", {})).json()["session_id"]
    await web.post(f"/v1/sessions/{session_id}/messages", {"message": "Hi"})
    await web.ask("DELETE", f"/v1/sessions/{session_id}")
    used = (await web.get("/v1/usage?days=1")).json()
    assert (used["user_id"], used["days"]) == ("default", 1)
    assert (used["usage"]["input_tokens"], used["usage"]["output_tokens"], used["unpriced_tokens"]) == (60, 40, 0)
    assert used["budget"] == {"tokens": 100, "usd": None, "days": 30}
    other = (await web.of(OTHER).get("/v1/usage")).json()
    assert (other["user_id"], other["usage"]["input_tokens"], other["days"]) == ("other", 0, 30)
    for days in ("0", "3661", "x"):
        refused = await web.get(f"/v1/usage?days={days}")
        assert (refused.status, refused.error) == (422, "invalid_argument")
        assert b"days" in refused.body


async def test_a_user_whose_budget_is_used_up_is_told_so(open_web: OpenWeb) -> None:
    web = open_web(config={"user_budget": {"tokens": 0, "days": 1}})
    session_id = (await web.post("/v1/sessions", {})).json()["session_id"]
    answer = await web.post(f"/v1/sessions/{session_id}/messages", {"message": "Hi"})
    assert answer.frames[-1][1]["code"] == "budget_exceeded"
    assert "for today" in answer.frames[-1][1]["message"]
