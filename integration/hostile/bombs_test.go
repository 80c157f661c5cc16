// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// maxPeak is how much memory servicing may take for any storage.
const maxPeak = 1 << 30

// bombs are storages that are cheap to make and would be dear to service.
var bombs = []struct {
	name  string
	heavy bool // only when all are asked for
	make  func(s *stage)
}{
	{"2000 directories in one another", false, func(s *stage) { s.deep("srv", 2000) }},
	{"2000 directories in one another, in a directory that the base removed", false, func(s *stage) {
		put(s.t, s.old, "opt/gone/x", "1", 0o644)
		s.deep("opt/gone", 2000)
	}},
	{"names of 255 bytes", false, func(s *stage) { s.many("srv/"+strings.Repeat("n", 249), 2000) }},
	{"names of 255 bytes where files are put beside", false, func(s *stage) {
		for i := range 20 {
			name := fmt.Sprintf("etc/%s%02d", strings.Repeat("n", 253), i)
			s.all(name, "1\n", "2\n", "3\n")
		}
	}},
	{"20 000 names in a directory", false, func(s *stage) { s.many("srv/d/", 20_000) }},
	{"100 000 names in a directory", true, func(s *stage) { s.many("etc/", 100_000) }},
	{"200 000 files", true, func(s *stage) {
		for i := range 200 {
			s.many(fmt.Sprintf("srv/%d/", i), 1000)
		}
	}},
	{"1 EiB of holes", false, func(s *stage) { s.hole("etc/clash", 1<<60) }},
	{"package lists of holes", false, func(s *stage) { s.holes(20) }},
	{"300 package lists of holes", true, func(s *stage) { s.holes(300) }},
	{"package lists of many lines", false, func(s *stage) { s.listed(20, 200_000) }},
	{"200 package lists of many lines", true, func(s *stage) { s.listed(200, 1_000_000) }},
	{"a package database of 12 MB", false, func(s *stage) { s.user1("var/lib/dpkg/status", packages(12<<20)) }},
	{"a package database of 60 MB", true, func(s *stage) { s.user1("var/lib/dpkg/status", packages(60<<20)) }},
	{"a package database of 200 MB", true, func(s *stage) { s.user1("var/lib/dpkg/status", packages(200<<20)) }},
	{"a package database of one field", false, func(s *stage) {
		s.user1("var/lib/dpkg/status", "Package: a\nDepends: "+strings.Repeat("a|", 4<<20)+"\n\n")
	}},
	{"a package database without fields", false, func(s *stage) { s.user1("var/lib/dpkg/status", strings.Repeat("\n", 60<<20)) }},
	{"a package with many conffiles", false, func(s *stage) {
		s.user1("var/lib/dpkg/status", stanza("a", "1")+"Package: z\nStatus: deinstall ok config-files\nVersion: 1\nConffiles:\n"+numbered(" /etc/%d 0123456789abcdef0123456789abcdef\n", 200_000)+"\n")
	}},
	{"apk's database of 12 MB", false, func(s *stage) { s.user1("lib/apk/db/installed", numbered("P:p%d\nV:1\n\n", 700_000)) }},
	{"apk's database of 60 MB", true, func(s *stage) { s.user1("lib/apk/db/installed", numbered("P:p%d\nV:1\n\n", 3_500_000)) }},
	{"apk's scripts: a member of 8 EiB", false, func(s *stage) { s.scripts(tarBomb(s.t, 1<<62)) }},
	{"apk's scripts: compressed zeros", false, func(s *stage) { s.scripts(gzipBomb(s.t, 1<<30)) }},
	{"apk's scripts: 50 000 members", false, func(s *stage) { s.scripts(tarOf(s.t, 50_000)) }},
	{"accounts of 15 MB", false, func(s *stage) { s.user1("etc/passwd", passwd(numbered("u%d:x:5:5::/:\n", 900_000))) }},
	{"accounts of 15 MB with ids", false, func(s *stage) { s.ids(600_000) }},
	{"one account many times", false, func(s *stage) { s.user1("etc/passwd", passwd(strings.Repeat("u:x:5:5::/:\n", 500_000))) }},
	{"accounts of 50 MB", true, func(s *stage) { s.user1("etc/passwd", passwd(numbered("u%d:x:5:5::/:\n", 2_500_000))) }},
	{"a group of very many", false, func(s *stage) {
		s.user1("etc/group", "root:x:0:\nshadow:x:42:"+numbered("u%d,", 1_000_000)+"\n")
	}},
	{"a million shells", false, func(s *stage) { s.user1("etc/shells", numbered("/%d\n", 1_000_000)) }},
	{"a set of 1 MB", false, func(s *stage) { s.user1("etc/shells", numbered("/%d\n", 130_000)) }},
	{"diversions of 12 MB", false, func(s *stage) { s.user1("var/lib/dpkg/diversions", numbered("/%d\n/x\n:\n", 900_000)) }},
	{"overrides of 12 MB", false, func(s *stage) { s.user1("var/lib/dpkg/statoverride", numbered("root root 644 /%d\n", 500_000)) }},
	{"dependencies of 12 MB", false, func(s *stage) { s.user1("var/lib/apt/extended_states", numbered("Package: %d\n\n", 700_000)) }},
	{"an alternative of many", false, func(s *stage) {
		s.user1("var/lib/dpkg/alternatives/vi", "auto\n/usr/bin/vi\n"+numbered("s%d\n/s\n", 40_000)+"\n"+numbered("/%d\n1\n", 40_000)+"\n")
	}},
	{"many alternatives", false, func(s *stage) {
		for i := range 3000 {
			put(s.t, s.user, fmt.Sprintf("var/lib/dpkg/alternatives/a%d", i), "auto\n/usr/bin/vi\n\n/x\n1\n\n", 0o644)
		}
	}},
	{"YAML aliases", false, func(s *stage) { s.all("etc/b.yaml", "a: 1\n", "a: 1\nz: 2\n", aliases()) }},
	{"YAML in depth", false, func(s *stage) { s.all("etc/b.yaml", "a: 1\n", "a: 1\nz: 2\n", "a: "+strings.Repeat("[", 200_000)) }},
	{"YAML indented", false, func(s *stage) { s.all("etc/b.yaml", "a: 1\n", "a: 1\nz: 2\n", indented(600)) }},
	{"JSON in depth", false, func(s *stage) {
		s.all("etc/b.json", `{"a": 1}`, `{"a": 1, "b": 2}`, strings.Repeat(`{"a":`, 40_000)+"1"+strings.Repeat("}", 40_000))
	}},
	{"JSON with one key", false, func(s *stage) {
		s.all("etc/b.json", `{"a": 1}`, `{"a": 1, "b": 2}`, "{"+strings.Repeat(`"a":1,`, 40_000)+`"a":2}`)
	}},
	{"TOML in depth", false, func(s *stage) {
		s.all("etc/b.toml", "a = 1\n", "a = 1\nb = 2\n", strings.Repeat("a.", 100_000)+"a = "+strings.Repeat("[", 20_000))
	}},
	{"TOML tables", false, func(s *stage) {
		s.all("etc/b.toml", "a = 1\n", "a = 1\nb = 2\n", numbered("[[a.b]]\nc.d%d.e=1\n", 9000))
	}},
	{"INI sections", false, func(s *stage) {
		s.all("etc/b.ini", "[a]\nb=1\n", "[a]\nb=2\n", "[a]\nb=1\n"+numbered("[s%d]\nk=1\n", 9900))
	}},
	{"equal lines", false, func(s *stage) { s.equalLines(8 << 20) }},
	{"lines in another order", false, func(s *stage) {
		s.all("etc/clash", numbered("%d\n", 100_000), numbered("%d\nx\n", 100_000), numbered("y\n%d\n", 100_000))
	}},
	{"a loader configuration that includes itself", false, func(s *stage) {
		s.user1("etc/ld.so.conf", "include /etc/ld.so.conf\ninclude /etc/ld.so.conf.d/*\ninclude ../../../../etc/*\ninclude /proc/self/root/*\n")
		for i := range 300 {
			put(s.t, s.user, fmt.Sprintf("etc/ld.so.conf.d/l%d.conf", i), "include /etc/ld.so.conf.d/*\n"+strings.Repeat("include *\n", 100), 0o644)
		}
	}},
	{"a loader configuration of stars", false, func(s *stage) {
		s.many("etc/ld.so.conf.d/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 2000)
		s.user1("etc/ld.so.conf", strings.Repeat("include /etc/ld.so.conf.d/"+strings.Repeat("*a", 30)+"b\n", 900))
	}},
	{"certificates without end", false, func(s *stage) {
		s.user1("etc/ssl/certs/ca-certificates.crt", strings.Repeat("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", 250_000))
	}},
	{"many certificates", false, func(s *stage) {
		for i := range 3000 {
			put(s.t, s.user, fmt.Sprintf("usr/local/share/ca-certificates/%d.crt", i), "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", 0o644)
		}
	}},
	{"large certificates", false, func(s *stage) {
		for i := range 400 {
			s.hole(fmt.Sprintf("usr/local/share/ca-certificates/h%d.crt", i), 1<<20)
		}
	}},
	{"programs of absurd headers", false, func(s *stage) {
		for i := range 200 {
			s.all(fmt.Sprintf("usr/bin/p%d", i), elf(1), elf(2), elf(byte(i)))
		}
	}},
	{"a loader cache of absurd counts", false, func(s *stage) {
		s.user1("etc/ld.so.cache", "glibc-ld.so.cache1.1\xff\xff\xff\x7f\xff\xff\xff\x7f"+strings.Repeat("\xff", 1<<16))
	}},
	{"64 KiB attributes", false, func(s *stage) {
		for i := range 300 {
			name := fmt.Sprintf("srv/x%d", i)
			s.all(name, "1", "2", "3")
			check(s.t, unix.Setxattr(filepath.Join(s.user, name), "trusted.large", make([]byte, 64<<10), 0))
		}
	}},
	{"64 KiB attributes on 5000 files", true, func(s *stage) {
		for i := range 5000 {
			name := fmt.Sprintf("srv/x%d", i)
			s.all(name, "1", "2", "3")
			check(s.t, unix.Setxattr(filepath.Join(s.user, name), "trusted.large", make([]byte, 64<<10), 0))
		}
	}},
	{"Python's caches", false, func(s *stage) { s.many("usr/lib/python3/__pycache__/x.cpython-", 5000) }},
	{"links through links", false, func(s *stage) {
		for i := range 2000 {
			link(s.t, fmt.Sprintf("l%d/l%d/..", (i+1)%2000, (i+2)%2000), fmt.Sprintf("%s/l%d", s.user, i))
		}
	}},
	{"links of 4 KiB", false, func(s *stage) {
		for i := range 300 {
			link(s.t, strings.Repeat("l1/../", 680), fmt.Sprintf("%s/l%d", s.user, i))
		}
	}},
	{"hard links", false, func(s *stage) {
		for i := range 3000 {
			check(s.t, os.Link(s.user+"/etc/conf", fmt.Sprintf("%s/etc/h%d", s.user, i)))
		}
	}},
	{"names that are taken", false, func(s *stage) {
		s.many("etc/clash.molt-new.", 3000)
		put(s.t, s.user, "etc/clash.molt-new", "mine", 0o644)
		s.many("var/lib/molt/beside/new/etc/", 3000)
		s.many("var/lib/molt/beside/old/etc/clash.molt-new.~", 3000)
	}},
	{"deep directories where versions are beside", false, func(s *stage) {
		s.deep("var/lib/molt/beside/old/x", 2000)
		s.deep("var/lib/molt/beside/new/x", 2000)
	}},
	{"merged texts together", true, func(s *stage) {
		for i := range 300 {
			s.all(fmt.Sprintf("etc/many/%d", i), numbered("%d\n", 300_000), "x\n"+numbered("%d\n", 300_000), numbered("%d\n", 300_000)+"y\n")
		}
	}},
}

func TestBombs(t *testing.T) {
	for _, b := range bombs {
		t.Run(b.name, func(t *testing.T) {
			if b.heavy && !full() {
				t.Skip("MOLT_HOSTILE=full asks for it")
			}
			s := newStage(t, tmpfs(t))
			for side, root := range s.sides() {
				build(t, root, side)
			}
			b.make(s)
			got := s.apart()
			t.Logf("peak %d MiB, held %.200q", got.Peak>>20, got.Held)
			if got.Error != "" {
				t.Errorf("cannot be serviced: %.500s", got.Error)
			}
			if got.Peak > maxPeak {
				t.Errorf("%d MiB of memory", got.Peak>>20)
			}
		})
	}
}

// user1 writes a file of the storage.
func (s *stage) user1(name, content string) { s.t.Helper(); put(s.t, s.user, name, content, 0o644) }

// all writes a file on all sides.
func (s *stage) all(name string, content ...string) {
	s.t.Helper()
	for side, root := range s.sides() {
		put(s.t, root, name, content[side], 0o755)
	}
}

// many makes empty files.
func (s *stage) many(prefix string, n int) {
	s.t.Helper()
	check(s.t, os.MkdirAll(filepath.Dir(s.user+"/"+prefix+"x"), 0o755))
	for i := range n {
		check(s.t, unix.Mknod(fmt.Sprintf("%s/%s%06d", s.user, prefix, i), unix.S_IFREG|0o644, 0))
	}
}

func (s *stage) deep(name string, depth int) {
	s.t.Helper()
	check(s.t, os.MkdirAll(filepath.Join(s.user, name), 0o755))
	at, err := unix.Open(filepath.Join(s.user, name), unix.O_PATH|unix.O_CLOEXEC, 0)
	check(s.t, err)
	for range depth {
		check(s.t, unix.Mkdirat(at, "directory", 0o755))
		next, err := unix.Openat(at, "directory", unix.O_PATH|unix.O_CLOEXEC, 0)
		check(s.t, err)
		check(s.t, unix.Close(at))
		at = next
	}
	check(s.t, unix.Mknodat(at, "f", unix.S_IFREG|0o644, 0))
	check(s.t, unix.Close(at))
}

func (s *stage) hole(name string, size int64) {
	s.t.Helper()
	put(s.t, s.user, name, "", 0o644)
	check(s.t, os.Truncate(filepath.Join(s.user, name), size))
}

// holes makes packages whose lists are large and take no space.
func (s *stage) holes(n int) {
	var status strings.Builder
	for i := range n {
		status.WriteString(stanza(fmt.Sprint("h", i), "1"))
		s.hole(fmt.Sprintf("var/lib/dpkg/info/h%d.list", i), 60<<20)
	}
	s.user1("var/lib/dpkg/status", status.String())
}

func (s *stage) listed(n, lines int) {
	var status strings.Builder
	for i := range n {
		status.WriteString(stanza(fmt.Sprint("h", i), "1"))
		s.user1(fmt.Sprintf("var/lib/dpkg/info/h%d.list", i), numbered(fmt.Sprintf("/%d/%%d\n", i), lines))
	}
	s.user1("var/lib/dpkg/status", status.String())
}

func (s *stage) scripts(content string) {
	s.all("lib/apk/db/scripts.tar", tarOf(s.t, 1), tarOf(s.t, 2), content)
}

// ids makes accounts all of whose ids the new base gives to others.
func (s *stage) ids(n int) {
	var base, user strings.Builder
	for i := range n {
		fmt.Fprintf(&user, "u%d:x:%d:5::/:\n", i, i+100)
		if i < 900 {
			fmt.Fprintf(&base, "b%d:x:%d:5::/:\n", i, i+100)
		}
	}
	s.all("etc/passwd", passwd(""), passwd(base.String()), passwd(user.String()))
}

func (s *stage) equalLines(size int) {
	a := strings.Repeat("\n", size/2)
	s.all("etc/clash", a, a+"x\n"+a[:size/4], "y\n"+a[:size/4]+"z\n"+a[:size/4])
}

// numbered repeats a line with numbers.
func numbered(format string, n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, format, i)
	}
	return out.String()
}

func packages(size int) string {
	var out strings.Builder
	for i := 0; out.Len() < size; i++ {
		fmt.Fprintf(&out, "Package: p%d\nStatus: install ok installed\nVersion: 1\n\n", i)
	}
	return out.String()
}

func aliases() string {
	out := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 30; i++ {
		out += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 8), i-1)
	}
	return out
}

func indented(n int) string {
	var out strings.Builder
	for i := range n {
		out.WriteString(strings.Repeat(" ", i) + "k:\n")
	}
	return out.String()
}

func tarOf(t *testing.T, members int) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range members {
		check(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("x-1.Q1%d.post-install", i), Mode: 0o755, Size: 2}))
		_, err := w.Write([]byte("#!"))
		check(t, err)
	}
	check(t, w.Close())
	return out.String()
}

// tarBomb has a member that says it is larger than any file.
func tarBomb(t *testing.T, size int64) string {
	t.Helper()
	var out bytes.Buffer
	check(t, tar.NewWriter(&out).WriteHeader(&tar.Header{Name: "../../../etc/passwd", Mode: 0o755, Size: size, Format: tar.FormatGNU}))
	return out.String() + strings.Repeat("x", 1024)
}

func gzipBomb(t *testing.T, size int) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	zeros := make([]byte, 1<<20)
	for range size / len(zeros) {
		_, err := w.Write(zeros)
		check(t, err)
	}
	check(t, w.Close())
	return out.String()
}

// elf is the head of a program whose tables are said to be as many and as large as numbers allow.
func elf(seed byte) string {
	head := "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x3e\x00\x01\x00\x00\x00"
	return head + strings.Repeat(string([]byte{seed, 0xff}), 16) + strings.Repeat("\x40\x00\x38\x00\xff\xff", 8) + strings.Repeat("\x02\x00\x00\x00\xff\xff\xff\x7f", 5000)
}
