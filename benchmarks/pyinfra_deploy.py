"""The same deployment written with pyinfra, as one would: the baseline of `deploys.py`, which runs it.

A release of the commit, unpacked; an environment from hashed requirements, shared by releases that have the same;
byte code; the shared files; the link; `inv install`; a restart where something changed; and a wait for `inv status`. It
has no lock, tries nothing beforehand, does not go back by itself, prunes nothing, and ends with the connection.
"""

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.operations import files, server

data = host.data
base, user, commit = data.base, data.service_user, data.commit
release, environment = f"{base}/releases/{commit}", f"{base}/environments/{data.requirements}"
python = f"{release}/.venv/bin/python"
as_user = {"_sudo": True, "_sudo_user": user}

for folder in (base, f"{base}/releases", f"{base}/environments"):
    files.directory(path=folder, user=user, group=user, mode="755", _sudo=True)
for folder, mode in ((f"{base}/shared", "750"), (f"{base}/shared/state", "700"), (f"{base}/shared/logs", "700")):
    files.directory(path=folder, user=user, group=user, mode=mode, _sudo=True)
settings = files.put(src=data.env_file, dest=f"{base}/shared/.env", user=user, group=user, mode="600", _sudo=True)

if not host.get_fact(File, path=f"{environment}/complete", _sudo=True):
    files.put(src=data.wheels, dest=f"{base}/wheels.tar", user=user, _sudo=True)
    files.put(src=data.requirements_file, dest=f"{base}/requirements.txt", user=user, _sudo=True)
    install = f"pip install --quiet --disable-pip-version-check --no-index --find-links {base}/wheels --require-hashes"
    server.shell(
        commands=[
            f"rm -rf {base}/wheels && mkdir {base}/wheels && tar -xf {base}/wheels.tar -C {base}/wheels",
            f"python3 -m venv {environment} && {environment}/bin/python -m {install} -r {base}/requirements.txt",
            f"touch {environment}/complete && rm -rf {base}/wheels {base}/wheels.tar",
        ],
        **as_user,
    )
if not host.get_fact(File, path=f"{release}/complete", _sudo=True):
    files.put(src=data.archive, dest=f"{base}/release.tar.gz", user=user, _sudo=True)
    shared = " && ".join(f"ln -s ../../shared/{name} {release}/{name}" for name in (".env", "state", "logs"))
    server.shell(
        commands=[
            f"rm -rf {release} && mkdir {release} && tar -xzf {base}/release.tar.gz -C {release} && {shared}",
            f"ln -s {environment} {release}/.venv && cd {release} && {python} -m compileall -q orchestration tasks.py",
            f"touch {release}/complete",
        ],
        **as_user,
    )
link = files.link(path=f"{base}/current", target=f"releases/{commit}", force=True, force_backup=False, **as_user)
server.shell(commands=[f"cd {release} && {python} -m invoke install --target=linux"], _sudo=True, _if=link.did_change)
server.shell(
    commands=[f"systemctl restart {data.unit}"], _sudo=True, _if=lambda: link.did_change() or settings.did_change()
)
server.shell(
    commands=[
        f"cd {release} && for i in $(seq 120); do {python} -m invoke status && exit 0; sleep 1; done; exit 1",
    ],
    **as_user,
)
