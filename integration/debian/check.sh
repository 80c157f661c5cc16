# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Looks at a customised Debian container after an update: prints a line for each point, "ok" or "BAD", and fails if there
# is a bad one. Runs in the container, as root.
#
# usage: check.sh SSL-VERSION   the version of package libssl3 that is expected
set -u
export LC_ALL=C
bad=0
# point WHAT GOT WANT
point() {
	if [ "$2" = "$3" ]; then
		echo "ok   $1"
	else
		bad=1
		printf 'BAD  %s\n       got: %s\n      want: %s\n' "$1" "$2" "$3"
	fi
}
# passes WHAT COMMAND...: the command says nothing but perhaps that all is well, and exits with 0.
passes() {
	local what=$1 out status
	shift
	out=$("$@" 2>&1)
	status=$?
	if [ $status -eq 0 ]; then echo "ok   $what"; else bad=1; printf 'BAD  %s\n%s\n' "$what" "$out"; fi
}

upstream=${1%-*}
point "openssl: program and library are one version" \
	"$(openssl version | sed 's/^OpenSSL \([^ ]*\) .*Library: OpenSSL \([^ ]*\) .*/\1 \2/')" "$upstream $upstream"
point "mode 700 of /usr/bin/openssl is kept" "$(stat -c %a /usr/bin/openssl)" 700
point "package status: libssl3" "$(dpkg-query -W -f '${Version}' libssl3)" "$1"
point "package status: openssl" "$(dpkg-query -W -f '${Version}' openssl)" "$1"
point "packages of the user are there" "$(dpkg-query -W -f '${db:Status-Status} ' nginx-light openssh-server python3-minimal sqlite3)" "installed installed installed installed "
point "dpkg --verify: nothing but the user's own changes" \
	"$(dpkg --verify | grep -v -E ' /etc/bash.bashrc$| /usr/share/doc/openssl(/|$)')" ""
point "dpkg --audit" "$(dpkg --audit)" ""
passes "apt-get check" apt-get check -q
# Debian's own accounts have directories that no minimal system has.
point "pwck -r" "$(pwck -r 2>&1 | grep -v -E "^user '.*': directory '.*' does not exist$|^pwck: no changes$")" ""
passes "grpck -r" grpck -r
passes "nginx -t" nginx -t
mkdir -p /run/sshd
passes "sshd -t" sshd -t
point "account alice" "$(id -nG alice)" "alice www-data"
point "edited sshd_config" "$(grep -c '^PermitRootLogin no' /etc/ssh/sshd_config)" 1
point "edited bash.bashrc" "$(tail -n 1 /etc/bash.bashrc)" 'alias ll="ls -l"'
point "time zone" "$(readlink /etc/localtime) $(cat /etc/timezone)" "/usr/share/zoneinfo/Europe/Berlin Europe/Berlin"
point "data" "$(sqlite3 /srv/data/app.db 'select n from t')" 42
point "deleted documents stay deleted" "$(ls /usr/share/doc/openssl 2>/dev/null)" ""
point "nothing was left beside the user's files" "$(find / -xdev \( -name '*.molt-new' -o -name '*.molt-old' \) 2>/dev/null; find /var/lib/molt -type f 2>/dev/null)" ""
exit $bad
