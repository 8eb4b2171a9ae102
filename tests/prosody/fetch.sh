#!/usr/bin/env bash
# Gets what `make test`, `make demo`, `make bench` and `make test-install` lack, and nothing when they lack nothing.
#
#   fetch.sh demo     what the demo needs: Rust, a C linker for it, python3, openssl, node with npm, one Prosody
#   fetch.sh test     that, both Prosodys, the community modules, an ejabberd, nginx, HAProxy and Caddy, the Lua tools,
#                     systemd's tools, PostgreSQL, libstrophe (a client library), Chromium, Java's keytool and a reader of QR codes
#                     for the page for devices, and a Python environment for the tests
#   fetch.sh bench    what the demo needs, both Prosodys, the community modules, a redis to compare with, PostgreSQL
#   fetch.sh install  mmdebstrap, dpkg-dev, a clean Debian made by it (target/install/base.tar), and that Python environment
#   fetch.sh versions what `test` does, and a Debian 13 for each Prosody that is newer (target/versions/)
#   fetch.sh prosodys says which Prosodys `make test` runs against, and does nothing
#
# Rust comes first: where it is missing or too old, Debian 13 has one, and elsewhere a message says how to get it.
# Servers and their modules are never installed, but PostgreSQL, of which no cluster is made: their packages are unpacked into target/prosody/, target/ejabberd/,
# target/proxies/ and target/redis/, and only libraries go to the system. No service is started. Libraries need root; the rest
# does not. Must not know what the tests do.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=$root/target
what=${1:-test}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# The tests of this script give it that of another Debian.
os_release=${FETCH_OS_RELEASE:-/etc/os-release}
export DEBIAN_FRONTEND=noninteractive

say() { printf 'fetch: %s\n' "$*"; }
die() { printf 'fetch: %s\n' "$*" >&2; exit 1; }

# Which Debian this is decides which Prosodys there are. Each is name:series:release, the release to take it from and its
# folder's name below target/prosody/. 0.12 does not run on Debian 13, which lacks its libicu.
debian() {
	[ -r "$os_release" ] || return 0
	# shellcheck disable=SC1090
	(. "$os_release" && [ "${ID:-}" = debian ] && printf '%s' "${VERSION_ID:-}") || true
}

choose_prosodys() {
	case "$what:$(debian)" in
	demo:12) echo "0.12:0.12:bookworm" ;;
	demo:13) echo "13.0:13.0:trixie" ;;
	test:12 | bench:12 | versions:12) echo "0.12:0.12:bookworm 13.0:13.0:bookworm-backports" ;;
	test:13 | bench:13 | versions:13) echo "13.0:13.0:trixie 13.0-backports:13.0:trixie-backports" ;;
	install:12) ;;
	install:13) die "'make test-install' needs Debian 12: the package is made here and installed there" ;;
	*) die "supported are Debian 12 and Debian 13 (without 'make test-install')" ;;
	esac
}

# The Debian that everything else comes from.
codename() {
	# shellcheck disable=SC1090
	(. "$os_release" && printf '%s' "${VERSION_CODENAME:-}")
}

# --- the system's packages -----------------------------------------------------------------------

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs what the dependency line $1 asks for. `satisfy` knows alternatives and virtual packages.
satisfy() {
	local apt=(apt-get -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends)
	if [ "$(id -u)" != 0 ]; then
		printf "fetch: these packages are missing; install them, then start again:\n  sudo apt-get satisfy --no-install-recommends '%s'\n" "$1" >&2
		exit 1
	fi
	say "installing: $1"
	# The lists may be missing or old: then the first try fails, and the second one counts.
	"${apt[@]}" satisfy "$1" </dev/null >/dev/null 2>&1 && return 0
	apt-get -q update </dev/null >&2 || say "apt-get update had errors; trying all the same"
	"${apt[@]}" satisfy "$1" </dev/null >&2 || die "apt-get could not install: $1"
}

# A package that starts a service when it is installed: PostgreSQL's does not, if its own file says so before.
keep_postgresql_quiet() {
	local file=/etc/postgresql-common/createcluster.conf
	if [ "$(id -u)" = 0 ] && ! installed postgresql && [ ! -e $file ]; then
		mkdir -p "${file%/*}"
		echo 'create_main_cluster = false' >$file
	fi
}

install_tools() {
	local missing=() package
	command -v cc >/dev/null || missing+=(gcc libc6-dev)
	for package in "$@"; do
		installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} = 0 ] || satisfy "$(IFS=, && echo "${missing[*]}")"
}

# --- Rust ----------------------------------------------------------------------------------------

oldest_rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")

# Says which Rust cargo would build with: nothing, if there is none.
rust_version() {
	{ cd "$root" && rustc --version 2>/dev/null || true; } | sed -n 's/^rustc \([0-9.]*\).*/\1/p'
}

has_rust() {
	local have
	have=$(rust_version)
	command -v cargo >/dev/null && [ -n "$have" ] && [ "$(printf '%s\n' "$oldest_rust" "$have" | sort -V | head -n 1)" = "$oldest_rust" ] || return 1
	case "$what" in demo | bench | install) return 0 ;; esac
	{ cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1
}

# Everything else is in vain without it.
require_rust() {
	local have parts=(cargo rustc) work
	has_rust && return 0
	have=$(rust_version)
	if command -v rustup >/dev/null; then
		die "Rust $oldest_rust or newer is needed, with clippy and rustfmt; here is ${have:-none}. Type: rustup toolchain install --profile default stable && rustup default stable"
	elif [ "$(debian)" != 13 ]; then
		die "Rust $oldest_rust or newer is needed, which Debian $(debian) does not have; here is ${have:-none}. Type these, then start again:
  apt-get install curl ca-certificates
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default
  . \"\$HOME/.cargo/env\""
	fi
	case "$what" in demo | bench) ;; *) parts+=(rust-clippy rustfmt) ;; esac
	[ "$(id -u)" = 0 ] || die "Rust $oldest_rust or newer is needed; here is ${have:-none}. As root, 'make fetch-$what' installs Debian's"
	say "installing Rust of Debian's trixie-backports"
	work=$(mktemp -d "$target/prosody/.0-rust.XXXXXX")
	leftovers+=("$work")
	use_release "$work" install_from trixie-backports "${parts[@]}"
	rm -rf "$work"
	has_rust || die "Rust $oldest_rust or newer is needed, and $(command -v rustc) is $(rust_version): is another one in the PATH before Debian's?"
}

# Installs the packages $3... into this system, with their libraries of release $2; apt's state is in folder $1. The sources that
# this system knows stay as they are.
install_from() {
	private_apt "$1" -y -o DPkg::Lock::Timeout=300 -o Dir::State::status=/var/lib/dpkg/status --no-install-recommends \
		-t "$2" install "${@:3}"
}

# --- Prosody -------------------------------------------------------------------------------------

# Where this machine gets Debian from, best guess first; with an argument, "-security", where it gets that.
mirrors() {
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
		awk -v name="$(codename)" -v part="${1:-}" \
			'($1 == name part || $1 == "stable" part || $1 == "oldstable" part) && $2 == "main" && !seen[$3]++ { print $3 }'
}

# The lines of a sources.list for release $1, from mirror $2: with what a release has beside it, its point releases and security
# updates, as everybody has it.
sources_of() {
	local release=$1 mirror=$2 base=${1%-backports} security line
	local lines=("$mirror $release")
	case "$release" in
	sid) ;;
	*)
		[ "$base" = "$release" ] || lines+=("$mirror $base")
		lines+=("$mirror $base-updates")
		while read -r security; do lines+=("$security $base-security"); done < <(mirrors -security | head -n 1)
		;;
	esac
	for line in "${lines[@]}"; do
		printf 'deb [signed-by=%s] %s main\n' $keyring "$line"
	done
}

# Runs apt with lists, sources and cache of its own in folder $1, so that the machine's are left alone.
private_apt() {
	local state=$1
	shift
	apt-get -q -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::Etc::preferences=- -o Dir::Etc::preferencesparts=- \
		-o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" \
		-o Acquire::Languages=none -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 "$@" </dev/null
}

# Runs the command $2 with folder $1 and the rest, where folder $1 knows release $3: from the first mirror that has it.
use_release() {
	local into=$1 command=$2 release=$3 mirror
	mkdir -p "$into/lists/partial" "$into/cache/archives/partial"
	[ -r $keyring ] || die "$keyring is missing: apt-get install debian-archive-keyring"
	# A system whose lists were never fetched does not tell its mirrors.
	[ -n "$(mirrors)" ] || [ "$(id -u)" != 0 ] || apt-get -q update </dev/null >&2 || say "apt-get update had errors; trying all the same"
	while read -r mirror; do
		sources_of "$release" "$mirror" >"$into/sources.list"
		if private_apt "$into" -o APT::Update::Error-Mode=any update >"$into/log" 2>&1 &&
			"$command" "$into" "${@:3}" >>"$into/log" 2>&1; then
			return 0
		fi
	done < <(mirrors)
	[ -s "$into/log" ] && cat "$into/log" >&2
	die "could not get ${*:4} from $release; is there a Debian mirror in this machine's apt sources?"
}

# Without -t apt takes the newest of a release and its updates; backports it takes with -t only.
download_from() {
	local from=()
	case "$2" in *-backports) from=(-t "$2") ;; esac
	(cd "$1" && private_apt "$1" "${from[@]}" download "${@:3}")
}

# Downloads the packages $3... of release $1 into folder $2.
download() {
	use_release "$2" download_from "$1" "${@:3}"
}

# The package's launchers hold fixed paths; these find everything beside themselves, wherever the folder is moved.
relocate() {
	local launcher
	for launcher in prosody prosodyctl; do
		# shellcheck disable=SC2016
		sed -i \
			-e '0,/^CFG_SOURCEDIR=.*/s||local here = (arg[0]:sub(1, 1) == "/" and "" or os.getenv("PWD").."/")..arg[0];\nlocal unpacked = here:gsub("/[^/]*$", "").."/../..";\nCFG_SOURCEDIR = unpacked.."/usr/lib/prosody";|' \
			-e 's|^CFG_CONFIGDIR=.*|CFG_CONFIGDIR = unpacked.."/etc/prosody";|' \
			-e 's|^CFG_PLUGINDIR=.*|CFG_PLUGINDIR = unpacked.."/usr/lib/prosody/modules/";|' \
			-e 's|^CFG_DATADIR=.*|CFG_DATADIR = unpacked.."/var/lib/prosody";|' "$1/usr/bin/$launcher"
	done
}

# Says which version the Prosody in folder $1 is, if it runs.
version_of() {
	local config=$1/check.cfg.lua
	[ -f "$config" ] || return 0
	"$1/usr/bin/prosodyctl" --config "$config" about 2>/dev/null | sed -n 's/^Prosody \([0-9][0-9.]*\).*/\1/p' | head -n 1
}

# Debian's name of the package that folder $1 was unpacked from.
package_in() {
	cat "$1/package" 2>/dev/null
}

# Whether folder $1 needs no look at what Debian has: it was looked at in the last day.
is_fresh() {
	[ -n "$(find "$1/package" -mtime -1 2>/dev/null)" ]
}

# Whether release $1 has another Prosody than the one in folder $2; if that can't be found out, it has not.
newer_in() {
	local work
	work=$(mktemp -d "$target/prosody/.0-newer.XXXXXX")
	leftovers+=("$work")
	if ! (download "$1" "$work" prosody) 2>/dev/null; then
		say "could not look whether Debian's $1 has a newer Prosody; keeping $(package_in "$2")"
		return 1
	fi
	[ "$(basename "$work"/prosody_*.deb .deb)" != "$(package_in "$2")" ] && return 0
	touch "$2/package"
	return 1
}

unpack_prosody() {
	local name=${1%%:*} series release=${1##*:} final=$target/prosody/${1%%:*} work package depends found=
	series=${1#*:} series=${series%:*}
	case "$(version_of "$final")" in
	"$series" | "$series".*) found=$(version_of "$final") ;;
	esac
	if [ -n "$found" ] && is_fresh "$final"; then
		say "Prosody $found is in target/prosody/$name ($(package_in "$final") of $release)"
		return 0
	fi
	if [ -n "$found" ] && ! newer_in "$release" "$final"; then
		say "Prosody $found is in target/prosody/$name ($(package_in "$final") of $release)"
		return 0
	fi
	work=$(mktemp -d "$target/prosody/.$name.XXXXXX")
	leftovers+=("$work")
	download "$release" "$work" prosody
	package=$(echo "$work"/prosody_*.deb)
	say "unpacking $(basename "$package") of Debian's $release into target/prosody/$name"

	# Only libraries: not what the package wants for its user, its service or its certificates.
	depends=$(dpkg-deb -f "$package" Depends | tr ',' '\n' | sed 's/^ *//' | grep -E '^(lua|lib)' | paste -s -d,)
	satisfied "$depends" || satisfy "$depends"

	dpkg -x "$package" "$work/unpacked"
	relocate "$work/unpacked"
	printf 'run_as_root = true\ndata_path = "/nonexistent"\nlog = { { to = "file", levels = {}, filename = "/dev/null" } }\nVirtualHost "localhost"\n' >"$work/unpacked/check.cfg.lua"
	chmod -R go+rX "$work/unpacked"
	found=$(version_of "$work/unpacked")
	case "$found" in
	"$series" | "$series".*) ;;
	*) die "wanted Prosody $series, and $(basename "$package") says it is '${found:-nothing that runs}'" ;;
	esac
	basename "$package" .deb >"$work/unpacked/package"
	rm -rf "$final"
	mv "$work/unpacked" "$final"
	rm -rf "$work"
	say "Prosody $found is in target/prosody/$name ($(package_in "$final") of $release)"
}

# The community modules that the tests load beside ours: SASL2 and what belongs to it, and the older module for
# certificates, which people may have enabled by mistake. Only the folders of those, so that nothing else in the package shadows a module of Prosody's own.
community_modules="mod_client_certs mod_sasl2 mod_sasl2_bind2 mod_sasl2_fast mod_sasl2_sm"
# These are in Debian 13's package only.
newer_modules="mod_sasl_ssdp"

unpack_modules() {
	local release=$1 final=$target/prosody/modules work module
	[ "$(cat "$final/complete" 2>/dev/null)" != "$community_modules $newer_modules" ] || return 0
	work=$(mktemp -d "$target/prosody/.0-modules.XXXXXX")
	leftovers+=("$work")
	say "unpacking the community modules of Debian's $release into target/prosody/modules"
	download "$release" "$work" prosody-modules
	dpkg -x "$work"/prosody-modules_*.deb "$work/unpacked"
	mkdir "$work/chosen"
	for module in $community_modules; do
		cp -RL "$work/unpacked/usr/lib/prosody/modules/$module" "$work/chosen/" || die "prosody-modules has no $module"
	done
	mkdir "$work/newer"
	download trixie "$work/newer" prosody-modules
	dpkg -x "$work/newer"/prosody-modules_*.deb "$work/newer/unpacked"
	for module in $newer_modules; do
		cp -RL "$work/newer/unpacked/usr/lib/prosody/modules/$module" "$work/chosen/" || die "prosody-modules of trixie has no $module"
	done
	chmod -R go+rX "$work/chosen"
	echo "$community_modules $newer_modules" >"$work/chosen/complete"
	rm -rf "$final"
	mv "$work/chosen" "$final"
	rm -rf "$work"
}

# Unpacks the packages $3... of release $2 into target/$1, and installs the libraries that they want. Less what they want for their user
# and their service, and for what the tests don't use.
unpack_servers() {
	local name=$1 release=$2 final=$target/$1 work package depends=
	shift 2
	[ "$(cat "$final/complete" 2>/dev/null)" != "$*" ] || return 0
	work=$(mktemp -d "$target/prosody/.0-$name.XXXXXX")
	leftovers+=("$work")
	say "unpacking $name of Debian's $release into target/$name"
	download "$release" "$work" "$@"
	mkdir "$work/unpacked"
	for package in "$work"/*.deb; do
		dpkg -x "$package" "$work/unpacked"
		depends+=,$(dpkg-deb -f "$package" Depends)
	done
	depends=$(tr ',' '\n' <<<"$depends" | sed 's/^ *//' | grep -E '^(lib|zlib)' | sort -u | paste -s -d,)
	satisfied "$depends" || satisfy "$depends"
	chmod -R go+rX "$work/unpacked"
	echo "$*" >"$work/unpacked/complete"
	rm -rf "$final"
	mv "$work/unpacked" "$final"
	rm -rf "$work"
}

# ejabberd, which starts `saslcertd extauth`, and the Erlang that it runs on; erlang-base, installed, would start a service, too.
ejabberd_packages=(ejabberd erlang-asn1 erlang-base erlang-base64url erlang-crypto erlang-goldrush erlang-idna erlang-inets
	erlang-jiffy erlang-jose erlang-lager erlang-mnesia erlang-os-mon erlang-p1-acme erlang-p1-cache-tab erlang-p1-eimp
	erlang-p1-mqtree erlang-p1-pkix erlang-p1-stringprep erlang-p1-stun erlang-p1-tls erlang-p1-utils erlang-p1-xml
	erlang-p1-xmpp erlang-p1-yaml erlang-p1-yconf erlang-p1-zlib erlang-public-key erlang-ssl erlang-syntax-tools
	erlang-unicode-util-compat erlang-xmerl)
# A redis to compare with. Its binary is in redis-tools.
redis_packages=(redis-server redis-tools)
# What may stand before Prosody's web server.
proxy_packages=(nginx haproxy caddy)

# --- a clean Debian ------------------------------------------------------------------------------

# What apt is told here about proxies and about lists that are old, as lines for the one in there.
apt_settings() {
	apt-config dump | grep -iE '^Acquire::([^ ]*proxy|Check-[^ ]*) ".+";$' || true
}

make_base() {
	local release=$1 final=$target/install/base.tar work mirror line options
	[ ! -s "$final" ] || return 0
	[ -r $keyring ] || die "$keyring is missing: apt-get install debian-archive-keyring"
	work=$(mktemp -d "$target/prosody/.0-base.XXXXXX")
	leftovers+=("$work")
	mkdir -p "$target/install"
	# Lists and packages that are there already are not asked for again.
	options=(--variant=minbase --skip=cleanup/apt/lists "--aptopt=APT::Keep-Downloaded-Packages \"true\";")
	while read -r line; do options+=("--aptopt=$line"); done < <(apt_settings)
	while read -r mirror; do
		say "making a clean Debian $release in target/install/base.tar, from $mirror"
		for line in "$release" "$release-backports"; do
			printf 'deb [signed-by=%s] %s %s main\n' $keyring "$mirror" "$line"
		done >"$work/sources.list"
		case "$mirror" in https:*) options+=(--include=ca-certificates) ;; esac
		if mmdebstrap --quiet "${options[@]}" "$release" "$work/base.tar" "$work/sources.list" </dev/null >"$work/log" 2>&1; then
			mv "$work/base.tar" "$final"
			rm -rf "$work"
			return 0
		fi
	done < <(mirrors)
	[ -s "$work/log" ] && cat "$work/log" >&2
	die "mmdebstrap could not make a Debian $release; is there a Debian mirror in this machine's apt sources?"
}

# The Prosodys that are newer than the releases of Debian that we test on: name:release. Each gets a Debian 13 of its own in
# target/versions/, because they need a newer libc than Debian 12 has; what such a one lacks comes from that release.
newer_prosodys="13.0-backports:trixie-backports 13.0-sid:sid"

make_version() {
	local name=${1%%:*} release=${1#*:} final=$target/versions/${1%%:*} work mirror options line
	[ ! -e "$final/usr/bin/prosody" ] || is_fresh "$final" || ! newer_in "$release" "$final" || rm -rf "$final"
	if [ -e "$final/usr/bin/prosody" ]; then
		say "Prosody is in target/versions/$name ($(package_in "$final") of $release)"
		return 0
	fi
	[ "$(id -u)" = 0 ] || die "'make test-versions' needs root: it makes a Debian 13"
	work=$(mktemp -d "$target/prosody/.0-version.XXXXXX")
	leftovers+=("$work")
	mkdir -p "$target/versions"
	options=(--variant=minbase --include=prosody,prosody-modules,lua-unbound,lua-dbi-sqlite3 "--setup-hook=mkdir -p \"\$1/etc/apt/preferences.d\" && cp '$work/pin' \"\$1/etc/apt/preferences.d/prosody\"")
	while read -r line; do options+=("--aptopt=$line"); done < <(apt_settings)
	printf 'Package: prosody prosody-modules\nPin: release n=%s\nPin-Priority: 990\n\nPackage: *\nPin: release n=%s\nPin-Priority: 100\n' "$release" "$release" >"$work/pin"
	while read -r mirror; do
		say "making a Debian 13 with the Prosody of $release in target/versions/$name, from $mirror"
		{ sources_of trixie "$mirror"; printf 'deb [signed-by=%s] %s %s main\n' $keyring "$mirror" "$release"; } >"$work/sources.list"
		if mmdebstrap --quiet "${options[@]}" trixie "$work/unpacked" "$work/sources.list" </dev/null >"$work/log" 2>&1; then
			chroot "$work/unpacked" dpkg-query -W -f 'prosody_${Version}_${Architecture}\n' prosody >"$work/unpacked/package"
			rm -rf "$final"
			mv "$work/unpacked" "$final"
			rm -rf "$work"
			say "Prosody is in target/versions/$name ($(package_in "$final") of $release)"
			return 0
		fi
	done < <(mirrors)
	[ -s "$work/log" ] && tail -n 30 "$work/log" >&2
	die "mmdebstrap could not make a Debian 13 with the Prosody of $release"
}

make_versions() {
	local one
	for one in $newer_prosodys; do make_version "$one"; done
}

# Whether the dependency line $1 is met already: a simulation needs neither root nor fresh lists.
satisfied() {
	local plan
	plan=$(apt-get -s --no-install-recommends satisfy "$1" 2>/dev/null) || return 1
	! grep -q '^Inst ' <<<"$plan"
}

# --- Python --------------------------------------------------------------------------------------

make_venv() {
	local venv=$target/venv wanted
	wanted=$(sha256sum <"$here/requirements.txt")
	if [ "$(cat "$venv/complete" 2>/dev/null)" = "$wanted" ] && "$venv/bin/python" -c 'import pytest, slixmpp' 2>/dev/null; then
		return 0
	fi
	say "making the tests' Python environment in target/venv"
	rm -rf "$venv"
	/usr/bin/python3 -m venv "$venv"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" </dev/null
	echo "$wanted" >"$venv/complete"
}

# -------------------------------------------------------------------------------------------------

case "$what" in
prosodys)
	what=test
	for prosody in $(choose_prosodys); do echo "${prosody%%:*}"; done
	exit 0
	;;
test | demo | bench | install | versions) ;;
*) die "usage: fetch.sh test|demo|bench|install|versions|prosodys" ;;
esac
prosodys=$(choose_prosodys)
mkdir -p "$target/prosody"
exec 9>"$target/prosody/.lock"
flock 9
# What an interrupted run left behind.
rm -rf "$target"/prosody/.[0-9]*
leftovers=()
trap 'rm -rf "${leftovers[@]}"' EXIT

require_rust
tools=(ca-certificates openssl python3)
case "$what" in
# Prosody's package only recommends lua-unbound; but without it prosodyctl prints a page of advice first.
demo) tools+=(lua-unbound) ;;
bench) tools+=(lua-unbound postgresql) && keep_postgresql_quiet ;;
test) tools+=(e2fsprogs libstrophe-dev mount lua-unbound lua-busted lua-check lua-dbi-sqlite3 lua5.2 lua5.4 postgresql python3-venv systemd) && keep_postgresql_quiet ;;
install) tools+=(mmdebstrap python3-venv dpkg-dev curl) ;;
versions) tools+=(libstrophe-dev lua-unbound lua-dbi-sqlite3 lua5.4 mmdebstrap python3-venv) ;;
esac
# Of these, others than Debian's will do.
case "$what" in
test | versions | install | demo)
	{ command -v node && command -v npm; } >/dev/null || tools+=(nodejs npm)
	;;
esac
case "$what" in
test | versions)
	tools+=(chromium zbar-tools)
	command -v keytool >/dev/null || tools+=(default-jre-headless)
	;;
esac
install_tools "${tools[@]}"
for prosody in $prosodys; do
	unpack_prosody "$prosody"
done
case "$what" in
test)
	unpack_modules "$(codename)"
	unpack_servers ejabberd "$(codename)" "${ejabberd_packages[@]}"
	unpack_servers proxies "$(codename)" "${proxy_packages[@]}"
	make_venv
	;;
bench)
	unpack_modules "$(codename)"
	unpack_servers redis "$(codename)" "${redis_packages[@]}"
	;;
install)
	make_base bookworm
	make_venv
	;;
versions)
	unpack_modules "$(codename)"
	unpack_servers proxies "$(codename)" "${proxy_packages[@]}"
	make_venv
	make_versions
	;;
esac
