#!/usr/bin/env bash
# Installs what the tests need and Go does not bring: Debian's AWS CLI and boto3,
# Node.js with the JavaScript SDK, a software HSM, database servers, and the C compiler
# that Go's race detector and PKCS#11 link with. Where it may not install, it says what
# is missing and fails. Quick when everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	echo "test-deps: $*" >&2
	exit 1
}

# missing_packages prints the Debian packages that are needed and not there. The AWS
# CLI and boto3 must be Debian's own: others may be in PATH and mean nothing.
missing_packages() {
	[ -x /usr/bin/aws ] || echo awscli
	/usr/bin/python3 -I -c 'import boto3' 2>/dev/null || echo python3-boto3
	/usr/bin/python3 -I -c 'import pgdb' 2>/dev/null || echo python3-pygresql
	/usr/bin/python3 -I -c 'import pymysql' 2>/dev/null || echo python3-pymysql
	# What AWS's rotation functions for databases import.
	/usr/bin/python3 -I -c 'import pgdb' 2>/dev/null || echo python3-pygresql
	/usr/bin/python3 -I -c 'import pymysql' 2>/dev/null || echo python3-pymysql
	command -v node >/dev/null || echo nodejs
	command -v npm >/dev/null || echo npm
	command -v cc >/dev/null || echo gcc
	printf '#include <stdlib.h>\n' | cc -E - >/dev/null 2>&1 || echo libc6-dev
	[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
	[ -x /usr/bin/systemd-analyze ] || echo systemd
	# The tests start these by themselves, in temporary folders.
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
	[ -x /usr/sbin/mariadbd ] || echo mariadb-server-core
	command -v redis-server >/dev/null || echo redis-server
	[ -x /usr/sbin/rsyslogd ] || echo rsyslog
	compgen -G '/usr/lib/*/rsyslog/lmnsd_ossl.so' >/dev/null || echo rsyslog-openssl
	# It checks the alert rules; the server of the same package is not started.
	command -v promtool >/dev/null || echo prometheus
	[ -e /usr/lib/softhsm/libsofthsm2.so ] && command -v softhsm2-util >/dev/null || echo softhsm2
}

install_packages() {
	local packages=("$@") as_root=()
	local byhand="install them with: apt-get install ${packages[*]}"
	command -v apt-get >/dev/null || fail "missing: ${packages[*]} (names of Debian packages), and there is no apt-get to install them with"
	if [ "$(id -u)" -ne 0 ]; then
		sudo -n true 2>/dev/null || fail "missing: ${packages[*]}, and sudo does not work without a password; $byhand"
		as_root=(sudo -n)
	fi
	# What the packages would start as services of this machine stays stopped.
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin $policy
		# shellcheck disable=SC2064 # as they are now
		trap "${as_root[*]} rm -f $policy" EXIT
	fi
	local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get)
	"${apt[@]}" update -q || fail "missing: ${packages[*]}, and apt-get update does not work"
	"${apt[@]}" install -q -y --no-install-recommends "${packages[@]}" </dev/null ||
		fail "missing: ${packages[*]}, and apt-get could not install them"
	mapfile -t packages < <(missing_packages)
	[ ${#packages[@]} -eq 0 ] || fail "still missing after apt-get install: ${packages[*]}"
}

# install_js DIR installs what the lock file in DIR names, unless that is there.
install_js() {
	local dir=$1 stamp sum
	stamp=$dir/node_modules/.installed
	sum=$(sha256sum <"$dir/package-lock.json")
	[ -e "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && return
	# No script of any package is run.
	(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null) ||
		fail "npm could not install the packages of $dir/package-lock.json"
	echo "$sum" >"$stamp"
}

# install_go MODULE VERSION PACKAGE builds a program from the Go module proxy, outside
# of our own module: what it needs is none of ours. .tools/bin holds it.
install_go() {
	local module=$1 version=$2 name=${3##*/}
	local bin=$PWD/.tools/bin/$name
	[ -x "$bin" ] && go version -m "$bin" | grep -qF "$(printf 'mod\t%s\t%s\t' "$module" "$version")" && return
	GOFLAGS='' GOBIN="${bin%/*}" CGO_ENABLED=0 go install -ldflags '-s -w' "$3@$version" </dev/null || fail "go install $3@$version does not work"
}

mapfile -t packages < <(missing_packages)
[ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"

# An S3-compatible store, for copies of the audit log.
install_go github.com/versity/versitygw v1.8.0 github.com/versity/versitygw/cmd/versitygw

install_js conformance/js
# Debian 12 has a Node.js that the SDK no longer runs on; npm has newer ones.
scripts/find-node >/dev/null 2>&1 || install_js conformance/js/runtime
scripts/find-node >/dev/null || fail "no usable Node.js, neither in PATH nor from npm"
