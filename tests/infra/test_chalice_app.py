"""What becomes of a Chalice app: functions with roles, logs and traces, and an API."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator

from infra.chalice_app import GATEWAY_ERRORS, api_body
from infra.chalice_package import ChaliceAppError
from tests.infra.program import ACCOUNT, ROOT, Run, run

ENTRY = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from infra.chalice_app import ChaliceApp, ChaliceAppArgs, FunctionArgs
ChaliceApp("other", ChaliceAppArgs(
    folder=Path({folder!r}), runtime="python3.13", build_folder=Path({build!r}),
    functions={{name: FunctionArgs(reserved_concurrency={reserved}) for name in {names}}},
))
"""
APP = """
from chalice import Chalice
app = Chalice(app_name="other")

@app.lambda_function(name="worker")
def worker(event, context):
    return {}
"""


def test_every_function_has_log_retention_tracing_and_its_own_role(everything: list[Run]) -> None:
    for each, days in zip(everything, (30, 7), strict=True):
        groups = {one.name: one.inputs["retentionInDays"] for one in each.all("LogGroup")}
        for function in each.all("Function"):
            assert function.inputs["tracingConfig"] == {"mode": "Active"}
            assert function.inputs["architectures"] == ["arm64"]
            assert function.inputs["role"] == f"arn:aws:iam::{ACCOUNT}:role/{function.name}"
            logging = function.inputs["loggingConfig"]
            assert logging["logFormat"] == "JSON"
            assert groups[logging["logGroup"]] == days


def test_no_function_reserves_concurrency(everything: list[Run]) -> None:
    """New accounts have as few as 10 concurrent executions and refuse any reservation."""
    for each in everything:
        for function in each.all("Function"):
            assert "reservedConcurrentExecutions" not in function.inputs


def test_memory_and_timeout_are_the_apps(declared: Run) -> None:
    for name, folder in (("api", "api"), ("stream-handler", "processor")):
        config = json.loads(Path(folder, ".chalice/config.json").read_text())
        function = declared.one("Function", name).inputs
        assert function["memorySize"] == config["lambda_memory_size"]
        assert function["timeout"] == config["lambda_timeout"]


def test_a_function_is_there_after_its_permissions(declared: Run) -> None:
    names = [(one.kind, one.name) for one in declared.resources]
    for function in declared.all("Function"):
        policy = names.index(("RolePolicy", function.name))
        assert policy < names.index(("Function", function.name))


def _body(run: Run) -> dict[str, Any]:
    return dict(run.one("RestApi").json("body"))


def test_the_api_description_is_valid_swagger(declared: Run) -> None:
    assert list(OpenAPIV2SpecValidator(_body(declared)).iter_errors()) == []


def test_every_route_leads_to_the_one_function(declared: Run) -> None:
    functions = {
        method["x-amazon-apigateway-integration"]["uri"]
        for path in _body(declared)["paths"].values()
        for name, method in path.items()
        if name != "parameters"
    }
    (uri,) = functions
    assert uri.endswith(":function:api-handler") or uri.endswith(":api-handler")
    assert {"/files", "/files/{id}", "/limits", "/health"} <= {
        path.replace("file_id", "id").replace("job_id", "id") for path in _body(declared)["paths"]
    }


def test_only_this_apis_stage_may_call_the_function(declared: Run) -> None:
    permission = declared.one("Permission", "api").inputs
    assert permission["principal"] == "apigateway.amazonaws.com"
    assert permission["sourceArn"].endswith(":abc123/api/*")


def test_gateway_errors_have_chalices_shape(declared: Run) -> None:
    responses = _body(declared)["x-amazon-apigateway-gateway-responses"]
    assert set(responses) == set(GATEWAY_ERRORS)
    for response in responses.values():
        template = response["responseTemplates"]["application/json"]
        filled = template.replace("$context.error.messageString", json.dumps('no "such" thing'))
        error = json.loads(filled)
        assert set(error) == {"Code", "Message"}
        assert error["Message"] == 'no "such" thing'


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("MISSING_AUTHENTICATION_TOKEN", 404),
        ("REQUEST_TOO_LARGE", 413),
        ("THROTTLED", 429),
    ],
)
def test_a_gateway_error_has_the_status_that_it_means(
    declared: Run, kind: str, status: int
) -> None:
    """An unknown path is 403 "Missing Authentication Token" unless told otherwise."""
    response = _body(declared)["x-amazon-apigateway-gateway-responses"][kind]
    assert response["statusCode"] == str(status), "a string, as AWS documents it"


def test_a_changed_description_is_deployed(declared: Run) -> None:
    body = declared.one("RestApi").inputs["body"]
    expected = hashlib.sha256(body.encode()).hexdigest()
    assert declared.one("Deployment").inputs["triggers"] == {"body": expected}


def test_the_stage_is_traced_and_throttled(declared: Run) -> None:
    stage = declared.one("Stage").inputs
    assert (stage["stageName"], stage["xrayTracingEnabled"]) == ("api", True)
    throttle = declared.one("MethodSettings").inputs
    assert throttle["methodPath"] == "*/*"
    assert throttle["settings"]["throttlingRateLimit"] == 20


def test_access_logs_are_an_option_for_they_change_the_account(declared: Run, changed: Run) -> None:
    assert declared.all("Account") == []
    assert "accessLogSettings" not in declared.one("Stage").inputs
    settings = changed.one("Stage").inputs["accessLogSettings"]
    assert settings["destinationArn"].endswith(":api-access")
    assert json.loads(settings["format"])["request"] == "$context.requestId"
    kinds = [one.kind for one in changed.resources]
    assert kinds.index("Account") < kinds.index("Stage")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app that has nothing to do with Addendum, packaged once for all tests."""
    folder = tmp_path_factory.mktemp("another-project") / "other"
    (folder / ".chalice").mkdir(parents=True)
    (folder / ".chalice/config.json").write_text('{"version": "2.0", "app_name": "other"}')
    (folder / "app.py").write_text(APP)
    return folder


def _run_other(folder: Path, *names: str, reserved: int | None = None) -> Run:
    entry = folder.parent / "__main__.py"
    build = str(folder.parent / "build")
    root = str(Path.cwd())
    entry.write_text(
        ENTRY.format(root=root, folder=str(folder), build=build, names=names, reserved=reserved)
    )
    return run(program=entry)


def test_another_project_can_take_the_component_as_it_is(other: Path) -> None:
    declared = _run_other(other, "worker", reserved=3)
    function = declared.one("Function")
    assert function.name == "other-worker"
    assert function.inputs["reservedConcurrentExecutions"] == 3
    assert declared.all("RestApi") == []
    assert len(declared.statements("other-worker")) == 2


def test_the_component_knows_nothing_of_this_project() -> None:
    """So that another one can take it, which takes these files."""
    taken = ("chalice_app", "chalice_package", "build_folder")
    sources = [(ROOT / f"infra/{name}.py").read_text() for name in taken]
    imported = {
        name
        for text in sources
        for names in re.findall(r"^from infra(?:\.(\w+))? import (.+)$", text, re.MULTILINE)
        for name in ([names[0]] if names[0] else names[1].split(", "))
    }
    assert imported <= set(taken)
    for text in sources:
        assert not re.search(r"^(import|from) (jobs|metrics)\b|addendum", text, re.M | re.I)


def test_a_function_without_settings_is_one_clear_error(other: Path) -> None:
    with pytest.raises(ChaliceAppError, match=r"has the functions worker; .* given for helper"):
        _run_other(other, "helper")


def test_a_placeholder_without_a_value_is_one_clear_error() -> None:
    swagger = '{"uri": "${aws_lambda_function.authorizer.invoke_arn}"}'
    with pytest.raises(ChaliceAppError, match=r"aws_lambda_function\.authorizer\.invoke_arn"):
        api_body(swagger, {"api_handler": "arn"})
