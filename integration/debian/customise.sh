# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# What a person does in a Debian container over time. Runs in the container, as root.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get update -q
apt-get install -y -q --no-install-recommends nginx-light openssh-server python3-minimal sqlite3
useradd --create-home --shell /bin/bash alice
echo 'alice:secret' | chpasswd
usermod -aG www-data alice
sed -i 's/^#\?PermitRootLogin.*/PermitRootLogin no/' /etc/ssh/sshd_config
echo 'alias ll="ls -l"' >>/etc/bash.bashrc
rm -rf /usr/share/doc/openssl
chmod 700 /usr/bin/openssl
ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime
echo Europe/Berlin >/etc/timezone
mkdir -p /srv/data
sqlite3 /srv/data/app.db 'create table t (n integer); insert into t values (42);'
