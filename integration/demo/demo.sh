#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0

# molt's main job on a real containerd, in less than a minute.
. "$(dirname "$0")/lib.sh"

start

# Version 1 of an application: a program, its configuration, a document.
app=$root/app1
mkdir -p "$app"/usr/bin "$app"/etc "$app"/usr/share/doc
printf '#!/bin/sh\necho "app 1, with a hole"\n' >"$app/usr/bin/app" && chmod 755 "$app/usr/bin/app"
printf 'port = 80\n\n# how much is told\nlog = info\n\n# where it runs\nworkers = 2\n' >"$app/etc/app.conf"
printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/sh\n' >"$app/etc/passwd"
echo 'read me' >"$app/usr/share/doc/app"
image demo/app:1 "$app"

# Version 2 fixes the program, changes a line of the configuration, and brings an account.
fix=$root/app2
mkdir -p "$fix"/usr/bin "$fix"/etc
printf '#!/bin/sh\necho "app 2, hole closed"\n' >"$fix/usr/bin/app" && chmod 755 "$fix/usr/bin/app"
printf 'port = 80\n\n# how much is told\nlog = info\n\n# where it runs\nworkers = 8\n' >"$fix/etc/app.conf"
printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/sh\napp:x:100:100:app:/:/bin/false\n' >"$fix/etc/passwd"
image demo/app:2 "$app" "$fix"

say "Two containers on one base, each with a storage of its own"
show ctr run -d --snapshotter molt --label molt.dev/storage=web demo/app:1 web
show ctr run -d --snapshotter molt --label molt.dev/storage=job demo/app:1 job
expect_inside web
expect_inside job

say "Both are customised, in different ways"
inside web 'sed -i s/80/8080/ /etc/app.conf; echo "alice:x:1000:1000::/home/alice:/bin/sh" >>/etc/passwd; echo 42 >/data'
inside job 'chmod 700 /usr/bin/app; rm /usr/share/doc/app; echo 43 >/data'
show moltctl graph

say "web is stopped, job goes on running"
show stop_container web
say "The base has a new version. What would it do?"
show moltctl update create --from demo/app:1 --to demo/app:2 --dry-run
say "One update for both: web gets it at once, job at its next start"
show moltctl update create --from demo/app:1 --to demo/app:2
in_container job app
show stop_container job
show ctr tasks start -d job
show ctr tasks start -d web

say "The fix is in both, and so is everything that was written in them"
inside web 'app; cat /etc/app.conf /data; tail -n 2 /etc/passwd'
inside job 'app; stat -c "%a %n" /usr/bin/app; cat /data; ls /usr/share/doc'
[ "$(in_container web app)" = 'app 2, hole closed' ] || fail "web was not updated"
[ "$(in_container job app)" = 'app 2, hole closed' ] || fail "job was not updated"
in_container web 'grep -q 8080 /etc/app.conf && grep -q "workers = 8" /etc/app.conf && grep -q alice /etc/passwd && grep -q app: /etc/passwd' || fail "web lost something"
[ "$(in_container job 'stat -c %a /usr/bin/app')" = 700 ] || fail "job lost its mode"

say "What the update did in each, and why"
show moltctl update report --storage web u1
show moltctl update report --storage job u1
show moltctl graph

say "web is rolled back: exactly what it was. job is left alone"
stop_container web
show moltctl update rollback --storage web u1
ctr tasks start -d web
inside web 'app; cat /etc/app.conf /data'
[ "$(in_container web app)" = 'app 1, with a hole' ] || fail "web was not rolled back"
[ "$(in_container job app)" = 'app 2, hole closed' ] || fail "job was rolled back, too"

say "A new container is made by the old name, and stands on the newest layer (servicing.new_containers = newest)"
show ctr run -d --snapshotter molt --label molt.dev/storage=new demo/app:1 new
in_container new app
[ "$(in_container new app)" = 'app 2, hole closed' ] || fail "new does not stand on the newest layer"
show moltctl storage history new

say "Two more updates of job. Then the images go, and the delta layers nobody stands on merge by themselves, or at once; the others say why not"
for v in 3 4; do
	next=$root/app$v
	mkdir -p "$next/usr/bin"
	printf '#!/bin/sh\necho "app %s"\n' $v >"$next/usr/bin/app" && chmod 755 "$next/usr/bin/app"
	layers=("$app" "$fix" "$root/app3" "$root/app4")
	image "demo/app:$v" "${layers[@]:0:$v}"
done
stop_container job
show moltctl update create --storage job --to demo/app:4
ctr images rm --sync demo/app:2 demo/app:3 demo/app:4 >/dev/null
show moltctl layer merge
ctr tasks start -d job
in_container job app
[ "$(in_container job app)" = 'app 4' ] || fail "job is not at version 4"
show moltctl graph
say "Done."
