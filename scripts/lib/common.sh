# Shared by the scripts: where caches live, and a Python environment per requirements file.

cache=${GARRISON_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/garrison}
mkdir -p "$cache"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

# python_env REQUIREMENTS: prints the folder of a virtual environment that has them.
python_env() {
    set -e # which $(…) has switched off; without it a failed installation would count as done
    local requirements=$1 env
    env=$cache/python-$(sha256sum "$requirements" | cut -c1-12)
    if [ ! -e "$env/ready" ]; then
        rm -rf "$env"
        if ! python3 -m venv "$env" >&2; then
            debian python3-venv
            python3 -m venv "$env" >&2
        fi
        "$env/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >&2
        touch "$env/ready"
    fi
    echo "$env"
}

# debian PACKAGE: installs a Debian package. SUDO is how to become root.
debian() {
    local root=""
    if [ "$(id -u)" -ne 0 ]; then root=${SUDO:-sudo}; fi
    ($root apt-get update && $root apt-get install -y --no-install-recommends "$1") >&2
}

# need PACKAGE: installs a Debian package whose program of the same name is not there.
need() {
    command -v "$1" >/dev/null || debian "$1"
}
