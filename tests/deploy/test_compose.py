"""What docker-compose.yml promises."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.settings import Settings
from tests.deploy.compose import FILES, ROOT, resolved, services, tool

LONG_RUNNING = {"redis", "api", "ray-head", "ray-worker", "worker"}
RAY = {"ray-head", "ray-worker", "worker"}


def test_these_are_the_services() -> None:
    assert set(services()) == LONG_RUNNING | {"ray-token"}


def test_only_the_api_is_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:${SOUPSEARCH_PUBLISHED_PORT:-8000}:8000"]}
    assert not any("network_mode" in service and service["network_mode"] != "none" for service in services().values())


def test_redis_and_ray_are_on_networks_without_a_way_out() -> None:
    networks = resolved(FILES[0])["networks"]
    assert {name for name, network in networks.items() if network.get("internal")} == {"jobs", "ray"}
    reached = {name: set(service.get("networks", [])) for name, service in services().items()}
    assert reached["redis"] == {"jobs"}
    assert reached["ray-head"] == reached["ray-worker"] == {"ray"}
    assert reached["worker"] == {"jobs", "ray"}
    assert reached["api"] == {"jobs", "public"}


def test_every_long_running_service_has_a_health_check_and_comes_back() -> None:
    for name in LONG_RUNNING:
        service = services()[name]
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped", name


def test_no_log_grows_without_bound() -> None:
    for name, service in services().items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name


def test_services_wait_for_what_they_need() -> None:
    needs = {
        name: {other: condition["condition"] for other, condition in service.get("depends_on", {}).items()}
        for name, service in services().items()
    }
    healthy, done = "service_healthy", "service_completed_successfully"
    assert needs["api"] == {"redis": healthy}
    assert needs["worker"] == {"redis": healthy, "ray-head": healthy}
    assert needs["ray-worker"] == {"ray-head": healthy}
    assert needs["ray-head"] == {"ray-token": done}


def test_no_container_has_a_privilege() -> None:
    for name, service in services().items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        assert not service.keys() & {"privileged", "cap_add", "devices", "pid", "ipc"}, name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", [])), name
    assert services()["redis"]["user"] == "999:999"
    assert services()["redis"]["read_only"] is services()["api"]["read_only"] is True


def test_state_lies_in_volumes() -> None:
    volumes = {name: service.get("volumes", []) for name, service in services().items()}
    assert volumes["redis"] == ["redis-data:/data"]
    assert volumes["api"] == ["data:/data"]
    assert volumes["worker"] == ["data:/data", "ray-token:/run/ray:ro"]
    assert volumes["ray-head"] == volumes["ray-worker"] == ["ray-token:/run/ray:ro"]
    assert volumes["ray-token"] == ["ray-token:/run/ray"]


def test_redis_keeps_what_it_accepted() -> None:
    command = services()["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--maxmemory-policy": "noeviction",
        "--save": "",
    }


def test_the_processes_of_ray_know_each_other_by_a_token() -> None:
    for name in RAY:
        environment, volumes = services()[name]["environment"], services()[name]["volumes"]
        assert environment["RAY_AUTH_MODE"] == "token", name
        assert f"ray-token:{Path(environment['RAY_AUTH_TOKEN_PATH']).parent}:ro" in volumes, name


def test_an_object_store_fits_into_shared_memory() -> None:
    for name, service in resolved(FILES[0])["services"].items():
        if name in RAY:
            words = [*(service.get("entrypoint") or []), *service["command"]]
            [store] = [word.partition("=")[2] for word in words if word.startswith("--object-store-memory=")]
            assert int(store) < 0.8 * int(service["shm_size"]), name


def test_images_have_versions() -> None:
    images = {service["image"] for service in services().values()}
    assert images == {"valkey/valkey:9.0-trixie", "soupsearch-api:0.1.0", "soupsearch-worker:0.1.0"}


def test_the_settings_given_to_containers_exist() -> None:
    given = {name for service in services().values() for name in service.get("environment", {})}
    settings = {name.removeprefix("SOUPSEARCH_").lower() for name in given if name.startswith("SOUPSEARCH_")}
    assert {"redis_url", "data_dir", "ray_address"} <= settings
    assert settings <= set(Settings.model_fields)


def test_compose_takes_the_file_as_it_is_meant() -> None:
    configuration = resolved(FILES[0])
    assert configuration["name"] == "soupsearch"
    [port] = configuration["services"]["api"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8000", 8000)
    assert "deploy" not in configuration["services"]["ray-worker"]


def test_a_file_of_settings_reaches_api_and_worker_but_does_not_move_them(tmp_path: Path) -> None:
    file = Path(shutil.copy(FILES[0], tmp_path))
    (tmp_path / ".env").write_text(
        "SOUPSEARCH_MAX_POINTS=7\nSOUPSEARCH_DATA_DIR=/elsewhere\nSOUPSEARCH_ALLOWED_HOSTS=soup.example.org\n"
    )
    containers = resolved(file)["services"]
    for name in ("api", "worker"):
        assert containers[name]["environment"]["SOUPSEARCH_MAX_POINTS"] == "7"
        assert containers[name]["environment"]["SOUPSEARCH_DATA_DIR"] == "/data"
    assert containers["api"]["environment"]["SOUPSEARCH_ALLOWED_HOSTS"] == "soup.example.org"
    assert "SOUPSEARCH_MAX_POINTS" not in containers["ray-worker"]["environment"]


def test_the_override_gives_the_ray_worker_all_gpus() -> None:
    worker = resolved(*FILES)["services"]["ray-worker"]
    [device] = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}
    assert worker["environment"]["RAY_AUTH_MODE"] == "token"


def test_ports_and_sizes_can_be_chosen() -> None:
    chosen = {"SOUPSEARCH_PUBLISHED_PORT": "9000", "RAY_SHM_SIZE": "9gb", "RAY_OBJECT_STORE_BYTES": "7000000000"}
    configuration = resolved(FILES[0], **chosen)["services"]
    assert configuration["api"]["ports"][0]["published"] == "9000"
    assert configuration["worker"]["shm_size"] == str(9 * 2**30)
    assert "--object-store-memory=7000000000" in configuration["worker"]["entrypoint"]
    assert "--object-store-memory=7000000000" in configuration["ray-worker"]["command"]


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").glob("*.Dockerfile")), ids=lambda path: str(path.name))
def test_images_are_built_as_hadolint_advises_and_run_without_root(path: Path) -> None:
    run = subprocess.run([tool("hadolint"), str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    text = path.read_text("utf-8")
    assert all(":" in image and "latest" not in image for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001:10001"]
    assert "--constraint constraints.txt" in text


def test_scripts_are_as_shellcheck_advises() -> None:
    run = subprocess.run([tool("shellcheck"), str(ROOT / ".ci/run")], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
