// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import "testing"

const unitsDir = "usr/lib/systemd/system/"

// unitLink is a link to a unit.
func unitLink(name string) string { return "-> /" + unitsDir + name }

var serviceCases = []fileCase{
	{
		name: "R14 enabled on both sides", old: files{unitsDir + "a.service": "1", unitsDir + "b.service": "1", "etc/systemd/system/x.target.wants": "dir"},
		new:  files{unitsDir + "a.service": "1", unitsDir + "b.service": "1", "etc/systemd/system/x.target.wants/a.service": unitLink("a.service")},
		user: func(u sh) { u.put("etc/systemd/system/x.target.wants/b.service", unitLink("b.service")) },
		want: files{"etc/systemd/system/x.target.wants/a.service": unitLink("a.service"), "etc/systemd/system/x.target.wants/b.service": unitLink("b.service")}, empty: true,
	},
	{
		name: "R14 disabled by the user, wanted by another target in the base", old: files{unitsDir + "a.service": "1", "etc/systemd/system/x.target.wants/a.service": unitLink("a.service")},
		new:  files{unitsDir + "a.service": "2", "etc/systemd/system/y.target.wants/a.service": unitLink("a.service"), "etc/systemd/system/y.target.wants/b.service": unitLink("a.service")},
		user: func(u sh) { u.rm("etc/systemd/system/x.target.wants/a.service") },
		want: files{"etc/systemd/system/x.target.wants/a.service": "", "etc/systemd/system/y.target.wants/a.service": "", "etc/systemd/system/y.target.wants/b.service": unitLink("a.service")}, verdicts: map[string]Verdict{"etc/systemd/system/y.target.wants/a.service": Keep},
	},
	{
		name: "R14 masked by the user", old: files{unitsDir + "a.service": "1"}, new: files{unitsDir + "a.service": "2", "etc/systemd/system/a.service": "3", "etc/systemd/system/x.target.wants/a.service": unitLink("a.service")},
		user: func(u sh) { u.put("etc/systemd/system/a.service", "-> /dev/null") }, want: files{"etc/systemd/system/a.service": "-> /dev/null", "var/lib/molt/beside/new/etc/systemd/system/a.service": ""},
		verdicts: map[string]Verdict{"etc/systemd/system/a.service": Keep}, empty: true,
	},
	{
		name: "R14 an alias changed on both sides", old: files{unitsDir + "a.service": "1", unitsDir + "b.service": "1", unitsDir + "c.service": "1", "etc/systemd/system/dm.service": unitLink("a.service")},
		new: files{unitsDir + "a.service": "1", unitsDir + "b.service": "1", unitsDir + "c.service": "1", "etc/systemd/system/dm.service": unitLink("b.service")},
		user: func(u sh) {
			u.rm("etc/systemd/system/dm.service")
			u.put("etc/systemd/system/dm.service", unitLink("c.service"))
		},
		want: files{"etc/systemd/system/dm.service": unitLink("c.service")}, empty: true,
	},
	{
		name: "R14 a link of the base's to a unit that the user removed", old: files{unitsDir + "a.service": "1", "etc/x": "1"},
		new:  files{unitsDir + "a.service": "1", "etc/x": "1", "etc/systemd/system/x.target.wants/a.service": unitLink("a.service"), "etc/systemd/system/x.target.wants/never.service": unitLink("never.service")},
		user: func(u sh) { u.rm(unitsDir + "a.service") }, want: files{"etc/systemd/system/x.target.wants/a.service": "", "etc/systemd/system/x.target.wants/never.service": unitLink("never.service")},
		verdicts: map[string]Verdict{"etc/systemd/system/x.target.wants/a.service": Drop},
	},
	{
		name: "R14 links to a unit that the base removed", old: files{unitsDir + "a.service": "1", "etc/systemd/system/x.target.wants/a.service": unitLink("a.service"), "etc/systemd/system/y.target.wants/b": "1"}, new: files{"etc/systemd/system/y.target.wants/b": "1", "usr/x": "1"},
		user: func(u sh) { u.put("etc/systemd/system/y.target.wants/a.service", unitLink("a.service")) },
		want: files{"etc/systemd/system/x.target.wants/a.service": "", "etc/systemd/system/y.target.wants/a.service": unitLink("a.service")}, empty: true,
	},
	{
		name: "R14 System V, disabled by the user, renumbered by the base", old: files{"etc/init.d/ssh": "1", "etc/init.d/b": "1", "etc/rc3.d/S02ssh": "-> ../init.d/ssh", "etc/rc3.d/S01b": "-> ../init.d/b"},
		new:  files{"etc/init.d/ssh": "1", "etc/init.d/b": "1", "etc/rc3.d/S05ssh": "-> ../init.d/ssh", "etc/rc3.d/S06b": "-> ../init.d/b"},
		user: func(u sh) { u.rm("etc/rc3.d/S02ssh"); u.put("etc/rc3.d/K01ssh", "-> ../init.d/ssh") },
		want: files{"etc/rc3.d/K01ssh": "-> ../init.d/ssh", "etc/rc3.d/S05ssh": "", "etc/rc3.d/S02ssh": "", "etc/rc3.d/S06b": "-> ../init.d/b", "etc/rc3.d/S01b": ""},
	},
	{
		name: "R14 OpenRC, disabled by the user", old: files{"etc/init.d/a": "1", "etc/runlevels/default/a": "-> /etc/init.d/a"}, new: files{"etc/init.d/a": "2", "etc/init.d/b": "2", "etc/runlevels/default/a": "-> /etc/init.d/a", "etc/runlevels/default/b": "-> /etc/init.d/b"},
		user: func(u sh) { u.rm("etc/runlevels/default/a") }, want: files{"etc/runlevels/default/a": "", "etc/runlevels/default/b": "-> /etc/init.d/b"}, empty: true,
	},
}

func TestServiceCases(t *testing.T) { checkFileCases(t, serviceCases) }
