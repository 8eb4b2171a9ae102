#!/usr/bin/env bash
# Runs the tests against the Prosodys that are newer than those of `make test`, each in the Debian 13 that fetch.sh made for
# it, and prints a line for each. As root. Arguments go to pytest; SYSTEMS names the folders, if not all.
#
# Only Prosody and prosodyctl run in there: they see this /tmp, where the rigs are, and this repository. The mounts are in a
# namespace of their own and end with it. Left out is what looks into the installation from outside: doctor, moving in,
# another server, and the pages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
left_out=(test_doctor.py test_documentation.py test_extauth.py test_import.py test_rig.py)
# The mod_sasl2 of 2026 answers who asks it before TLS with a traceback of its own (line 135), with or without our module. The
# other one asks whether anything runs out of this repository, which here it does.
not_here=(
	test_sasl2.py::test_388_01_nothing_before_tls
	test_other_user.py::test_what_another_user_runs_is_not_in_our_folder_which_may_be_closed_to_it
)

# In the namespace: pytest with Prosody in folder $1, whose name is $2.
run() {
	local system=$1
	mount -t proc proc "$system/proc"
	mount --rbind /dev "$system/dev"
	mount --bind /tmp "$system/tmp"
	mkdir -p "$system$root"
	mount --bind -o ro "$root" "$system$root"
	cd "$here"
	PROSODY_ROOT=$system PROSODY_VERSIONS=$2 "$root/target/venv/bin/python" -B -m pytest -p no:cacheprovider \
		"${left_out[@]/#/--ignore=}" "${not_here[@]/#/--deselect=}" "${@:3}" </dev/null
}

if [ "${1:-}" = --in-namespace ]; then
	run "${@:2}"
	exit
fi

status=0
results=()
for system in ${SYSTEMS:-"$root"/target/versions/13.0-*}; do
	package=$(cat "$system/package")
	printf '\n%s, with %s of its system\n' "$package" "$(chroot "$system" dpkg-query -W -f '${Package} ${Version}' lua-sec)"
	if unshare --mount --propagation private "$here/versions.sh" --in-namespace "$system" "$(basename "$system")" "$@" 2>&1 | tee "$root/target/versions/log"; then
		result=ok
	else
		result=FAILED
		status=1
	fi
	results+=("$(printf '%-36s %-7s %s' "$package" "$result" "$(tail -n 1 "$root/target/versions/log" | tr -d '=')")")
done
printf '\n'
printf '%s\n' "${results[@]}"
exit $status
