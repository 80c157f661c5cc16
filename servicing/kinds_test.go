// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kindCase is a case of a kind of conflict that strangers met.
type kindCase struct {
	name     string
	old, new files
	user     func(u sh)
	want     files    // through the mount
	told     []string // what the report says, somewhere
	held     bool
}

func (c kindCase) run(t *testing.T) {
	s := newScenario(t, c.old, c.new, func(root string) { c.user(sh{t, root}) })
	p := s.plan(Options{})
	text := encoded(t, p.Report())
	for _, told := range c.told {
		if !strings.Contains(text, told) {
			t.Errorf("the report does not say %q:\n%s", told, text)
		}
	}
	if held := len(p.Held()) > 0; held != c.held {
		t.Fatalf("held: %v", p.Held())
	}
	if !c.held {
		s.serviced(func(root string) { c.want.check(t, root) })
	}
}

const (
	cdn    = "https://cdn/"
	mirror = "https://mirror/"
)

func repositories(host, release string) string {
	return host + release + "/main\n" + host + release + "/community\n"
}

func aptLines(host, release, components string) string {
	return "deb " + host + "debian " + release + " " + components + "\ndeb " + host + "debian " + release + "-updates " + components + "\n"
}

func aptStanza(host, release, components string) string {
	return "Types: deb\nURIs: " + host + "debian\nSuites: " + release + " " + release + "-updates\nComponents: " + components + "\n"
}

// kindCases are those that need nothing but files.
var kindCases = []kindCase{
	{
		name: "K6 a repository appended", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories(cdn, "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", repositories(cdn, "v3.19")+cdn+"edge/testing\n") },
		want: files{"etc/apk/repositories": repositories(cdn, "v3.20") + cdn + "edge/testing\n"},
	},
	{
		name: "K6 a repository commented out", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories(cdn, "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", cdn+"v3.19/main\n#"+cdn+"v3.19/community\n") },
		want: files{"etc/apk/repositories": cdn + "v3.20/main\n#" + cdn + "v3.19/community\n"},
	},
	{
		name: "K6 another mirror", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories(cdn, "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", repositories(mirror, "v3.19")) },
		want: files{"etc/apk/repositories": repositories(mirror, "v3.20")},
	},
	{
		name: "K6 another mirror on both sides", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories("https://new/", "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", repositories(mirror, "v3.19")) },
		want: files{"etc/apk/repositories": repositories(mirror, "v3.19")}, told: []string{"other releases or mirrors"},
	},
	{
		name: "K7 another mirror and a component, in lines", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new: files{"etc/apt/sources.list": aptLines(cdn, "trixie", "main")}, user: func(u sh) { u.put("etc/apt/sources.list", aptLines(mirror, "bookworm", "main contrib")) },
		want: files{"etc/apt/sources.list": aptLines(mirror, "trixie", "main contrib")},
	},
	{
		name: "K7 another mirror and a component, in stanzas", old: files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "bookworm", "main")},
		new:  files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) { u.put("etc/apt/sources.list.d/debian.sources", aptStanza(mirror, "bookworm", "main contrib")) },
		want: files{"etc/apt/sources.list.d/debian.sources": aptStanza(mirror, "trixie", "main contrib")},
	},
	{
		name: "K7 lines, and stanzas in the base", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new:  files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) { u.put("etc/apt/sources.list", aptLines(mirror, "bookworm", "main contrib")) },
		want: files{"etc/apt/sources.list.d/debian.sources": aptStanza(mirror, "trixie", "main contrib"), "etc/apt/sources.list": ""},
	},
	{
		name: "K7 lines that become a comment, and stanzas in the base", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new: files{"etc/apt/sources.list": "# see debian.sources\n", "etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) { u.put("etc/apt/sources.list", aptLines(mirror, "bookworm", "main")) },
		want: files{"etc/apt/sources.list.d/debian.sources": aptStanza(mirror, "trixie", "main"), "etc/apt/sources.list": "# see debian.sources\n"},
	},
	{
		name: "K7 lines with an archive of others, and stanzas in the base", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new:  files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) { u.put("etc/apt/sources.list", aptLines(cdn, "bookworm", "main")+"deb https://x/apt stable main\n") },
		want: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main") + "deb https://x/apt stable main\n", "etc/apt/sources.list.d/debian.sources": ""},
		told: []string{"stay in force"},
	},
}

// TestK11 has Python compile a module whose next version is as long and as old: what was compiled goes.
func TestK11(t *testing.T) {
	same := func(root string) string { return filepath.Join(root, "usr/lib/python3/m.py") }
	at := time.Unix(1700000000, 0)
	s := &scenario{t: t, old: tempDir(t), base: tempDir(t)}
	for root, text := range map[string]string{s.old: "x = 'old'", s.base: "x = 'new'"} {
		files{"usr/lib/python3/m.py": text}.build(t, root)
		must(t, os.Chtimes(same(root), at, at))
	}
	s.work(s.old, func(root string) {
		header := make([]byte, 16)
		binary.LittleEndian.PutUint32(header[8:], uint32(at.Unix()))
		binary.LittleEndian.PutUint32(header[12:], 9)
		sh{t, root}.put("usr/lib/python3/__pycache__/m.cpython-311.pyc", string(header)+"old")
	})
	s.serviced(func(root string) {
		files{"usr/lib/python3/m.py": "x = 'new'", "usr/lib/python3/__pycache__/m.cpython-311.pyc": ""}.check(t, root)
	})
}

func TestKinds(t *testing.T) {
	for _, c := range kindCases {
		t.Run(c.name, c.run)
	}
}
