// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import "testing"

// configCases are configuration files that both sides changed, with the driver that merges them; "" for none.
var configCases = []struct {
	name, path, old, new, user string
	want, beside, driver       string
}{
	{
		"A4 neighbours in sshd_config", "etc/ssh/sshd_config", "Port 22\nPermitRootLogin no\nUsePAM yes\n", "Port 22\nPermitRootLogin no\nUsePAM no\n", "Port 22\nPermitRootLogin yes\nUsePAM yes\n",
		"Port 22\nPermitRootLogin yes\nUsePAM no\n", "", "config",
	},
	{
		"A5 one key of sshd_config", "etc/ssh/sshd_config", "Port 22\n", "Port 23\n", "Port 24\n", "Port 24\n", "Port 23\n", "",
	},
	{
		"A4 lines apart, with a comment of the base's", "etc/x.ini", "[a]\nx=1\n\n\n\n# old\ny=1\n", "[a]\nx=1\n\n\n\n# new\ny=2\n", "[a]\nx=2\n\n\n\n# old\ny=1\n", "[a]\nx=2\n\n\n\n# new\ny=2\n", "", "text",
	},
	{
		"A5 lines apart, but one key twice", "etc/x.ini", "[a]\nx=1\n\n\n\ny=1\n", "[a]\nn=1\nx=1\n\n\n\ny=1\n", "[a]\nx=1\n\n\n\ny=1\nn=2\n", "[a]\nx=1\n\n\n\ny=1\nn=2\n", "[a]\nn=1\nx=1\n\n\n\ny=1\n", "config",
	},
	{
		"A4 a unit of systemd", "etc/systemd/system/x.service", "[Service]\nExecStart=/a\nRestart=no\n[Install]\nWantedBy=x.target\n", "[Service]\nExecStart=/a --new\nRestart=no\n[Install]\nWantedBy=x.target\n",
		"[Service]\nExecStart=/a\nRestart=always\n[Install]\nWantedBy=x.target\n", "[Service]\nExecStart=/a --new\nRestart=always\n[Install]\nWantedBy=x.target\n", "", "config",
	},
	{
		"A4 json in one line", "etc/docker/daemon.json", `{"debug": false, "ipv6": false}`, `{"debug": false, "ipv6": true}`, `{"debug": true, "ipv6": false}`, `{"debug": true, "ipv6": true}`, "", "config",
	},
	{
		"A5 json that is none", "etc/a.json", "{\"a\": 1}", "{\"a\": 2}", "{\"a\": 1,}", "{\"a\": 1,}", "{\"a\": 2}", "",
	},
	{
		"A4 yaml", "etc/app/config.yaml", "a:\n  x: 1\n  y: 1\n", "a:\n  x: 1\n  y: 2\n", "a:\n  x: 3 # mine\n  y: 1\n", "a:\n  x: 3 # mine\n  y: 2\n", "", "config",
	},
	{
		"A4 toml", "etc/containerd/config.toml", "a = 1\nb = 1\n", "a = 1\nb = 2\n", "a = 2\nb = 1\n", "a = 2\nb = 2\n", "", "config",
	},
	{
		"A4 assignments", "etc/default/locale", "LANG=C\nLC_TIME=C\n", "LANG=C\nLC_TIME=C.UTF-8\n", "LANG=de_DE.UTF-8\nLC_TIME=C\n", "LANG=de_DE.UTF-8\nLC_TIME=C.UTF-8\n", "", "config",
	},
	{
		"A5 assignments with code", "etc/default/x", "A=1\nB=1\n", "A=1\nB=2\n", "if true; then A=2; fi\nB=1\n", "if true; then A=2; fi\nB=1\n", "A=1\nB=2\n", "",
	},
	{
		"A4 shells", "etc/shells", "/bin/sh\n/bin/bash\n", "/bin/sh\n/bin/bash\n/bin/dash\n", "/bin/sh\n/bin/bash\n/bin/zsh\n", "/bin/sh\n/bin/bash\n/bin/dash\n/bin/zsh\n", "", "line-set",
	},
	{
		"A4 sources of packages", "etc/apt/sources.list", "deb http://a bookworm main\n", "deb http://a trixie main\n", "deb http://a bookworm main\ndeb http://mine x main\n", "deb http://a trixie main\ndeb http://mine x main\n", "", "sources",
	},
	{
		"A5 modules with other options", "etc/modules", "m x=1\n", "m x=2\n", "m x=3\n", "m x=3\n", "m x=2\n", "",
	},
	{
		"A5 data is not merged by key", "home/x/a.json", `{"a": 1, "b": 1}`, `{"a": 1, "b": 2}`, `{"a": 2, "b": 1}`, `{"a": 2, "b": 1}`, "", "",
	},
}

func TestConfigCases(t *testing.T) {
	for _, c := range configCases {
		t.Run(c.name, func(t *testing.T) {
			s := newScenario(t, files{c.path: c.old}, files{c.path: c.new}, func(root string) { sh{t, root}.put(c.path, c.user) })
			report := s.serviced(func(root string) { files{c.path: c.want, newTree + c.path: c.beside}.check(t, root) })
			if len(report.Paths) != 1 || report.Paths[0].Driver != c.driver {
				t.Errorf("decided by %v", report.Paths)
			}
			unchangedBase(t, s)
		})
	}
}
