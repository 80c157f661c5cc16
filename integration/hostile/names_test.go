// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// oddNames are names as no database should have them; %s is the directory outside.
func oddNames(c *canary) []string {
	return []string{
		"..", "../../etc/shadow", strings.Repeat("../", 40) + c.dir[1:] + "/etc/shadow", c.dir + "/etc/shadow", "/", "//", "", ".",
		"a/../../b", "a\x00b", "\xff\xfe", "a\rb", strings.Repeat("n", 256), strings.Repeat("n", 4096), strings.Repeat("d/", 3000),
		"a b", "-rf", "*", "%s%n", "a.molt-new", "a:amd64:i386", "\u202egpj",
	}
}

// databases are the places in which a name of a user's choice is taken for one of a file or package.
var databases = []struct {
	name string
	make func(s *stage, name string)
}{
	{"package", func(s *stage, name string) {
		s.user1("var/lib/dpkg/status", stanza("dpkg", "1")+stanza("a", "1")+stanza(name, "1"))
	}},
	{"package of an architecture", func(s *stage, name string) {
		s.user1("var/lib/dpkg/status", stanza("a", "1")+"Package: z\nStatus: install ok installed\nMulti-Arch: same\nVersion: 1\nArchitecture: "+name+"\n\n")
	}},
	{"conffile", func(s *stage, name string) {
		s.user1("var/lib/dpkg/status", stanza("a", "1")+"Package: z\nStatus: deinstall ok config-files\nVersion: 1\nConffiles:\n /"+name+" 0123456789abcdef0123456789abcdef\n "+name+" 00\n\n")
	}},
	{"file of a package", func(s *stage, name string) {
		s.user1("var/lib/dpkg/status", stanza("dpkg", "1")+stanza("a", "9")+stanza("mine", "1"))
		s.user1("var/lib/dpkg/info/mine.list", "/.\n/"+name+"\n"+name+"\n/etc/../"+name+"\n")
		s.user1("var/lib/dpkg/info/a.list", "/.\n/"+name+"\n"+name+"\n")
		s.user1("var/lib/dpkg/info/a.md5sums", "0123456789abcdef0123456789abcdef  "+name+"\n")
	}},
	{"diversion", func(s *stage, name string) {
		s.user1("var/lib/dpkg/diversions", name+"\n/"+name+"\n:\n/x\n"+name+"\na\n")
	}},
	{"override", func(s *stage, name string) {
		s.user1("var/lib/dpkg/statoverride", "root root 4755 "+name+"\nroot root 4755 /"+name+"\n"+name+" root 4755 /x\n")
	}},
	{"alternative", func(s *stage, name string) {
		s.user1("var/lib/dpkg/alternatives/vi", "manual\n"+name+"\nslave\n"+name+"\n\n/"+name+"\n10\n"+name+"\n\n")
		link(s.t, target(name), s.user+"/etc/alternatives/vi")
	}},
	{"apk's", func(s *stage, name string) {
		s.user1("lib/apk/db/installed", "P:x\nV:1\nF:"+name+"\nR:"+name+"\n\nP:"+name+"\nV:1\nF:/"+name+"\nR:../"+name+"\nZ:Q1AAAA\n\n")
		s.user1("etc/apk/world", name+"\n")
		s.all("lib/apk/db/scripts.tar", tarOf(s.t, 1), tarOf(s.t, 2), tarNamed(s.t, name))
	}},
	{"account", func(s *stage, name string) {
		s.user1("etc/passwd", passwd(name+":x:7:7::"+name+":/"+name+"\n"))
		s.user1("etc/group", "root:x:0:"+name+"\nshadow:x:42:\n"+name+":x:7:\n")
		s.user1("etc/subuid", name+":4294967295:4294967295\n")
	}},
	{"loader's", func(s *stage, name string) {
		s.user1("etc/ld.so.conf", name+"\n/"+name+"\ninclude "+name+"\ninclude /"+name+"\ninclude "+name+"/*\n")
	}},
	{"certificate", func(s *stage, name string) { s.user1("etc/ca-certificates.conf", name+"\n!"+name+"\n../"+name+"\n") }},
	{"distribution", func(s *stage, name string) { s.user1("etc/os-release", "ID=debian\nVERSION_ID="+name+"\n") }},
	{"link", func(s *stage, name string) {
		for _, at := range []string{"lib64", "sbin", "opt", "etc/ssh/sshd_config", "etc/systemd/system/z.service", "usr/lib/z.so"} {
			link(s.t, target(name), s.user+"/"+at)
		}
	}},
}

// target makes a name what a symbolic link may lead to.
func target(name string) string {
	name = strings.ReplaceAll(name, "\x00", "")
	return "./" + name[:min(len(name), 4000)]
}

func tarNamed(t *testing.T, name string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range []*tar.Header{
		{Name: "x-1.Q1AAAA.post-install", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"},
		{Name: "../../" + name, Mode: 0o4755},
	} {
		if err := w.WriteHeader(h); err != nil {
			continue // what cannot be written as a tar file cannot be given as one
		}
	}
	return out.String()
}

// TestNames writes names that lead elsewhere into the databases of a storage.
func TestNames(t *testing.T) {
	c := newCanary(t)
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			c.t = t
			root := tmpfs(t)
			for i, name := range oddNames(c) {
				s := newStage(t, fmt.Sprintf("%s/%d", root, i))
				for side, dir := range s.sides() {
					build(t, dir, side)
				}
				d.make(s, name)
				c.seen()
				got := s.service()
				c.unharmed()
				hides(t, "the report", got.Report)
				hidesBelow(t, s.into)
				s.noGain()
				if got.Error != "" {
					t.Errorf("%.60q: %.300s", name, got.Error)
				}
			}
		})
	}
}
