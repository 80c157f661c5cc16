// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"strings"
	"testing"
)

// The files of a small system, of which every driver has something to do, as the old base, the new one and a user have them.
const (
	ofOld = iota
	ofNew
	ofUser
)

func passwd(extra string) string {
	return "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\n" + extra
}

func stanza(name, version string) string {
	return "Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\nConffiles:\n /etc/conf 0123456789abcdef0123456789abcdef\n\n"
}

func three(old, base, user string) [3]string { return [3]string{old, base, user} }

// lines is a text that both sides change, apart from one another.
func lines(name string) [3]string {
	text := "a=1\nb=2\nc=3\nd=4\ne=5\nf=6\n# " + name + "\n"
	return three(text, strings.Replace(text, "a=1", "a=10", 1), strings.Replace(text, "f=6", "f=60", 1))
}

// bodies is a program that both sides change.
func bodies(head string) [3]string {
	return three(head+"\x00old", head+"\x00new, longer", head+"\x00user's, of another length")
}

var system = map[string][3]string{
	"etc/passwd":  three(passwd(""), passwd("new:x:100:100::/:/bin/false\n"), passwd("me:x:1000:1000::/home/me:/bin/sh\n")),
	"etc/group":   three("root:x:0:\nshadow:x:42:\n", "root:x:0:\nshadow:x:42:\nnew:x:100:\n", "root:x:0:\nshadow:x:42:\nme:x:1000:\n"),
	"etc/shadow":  three("root:*:1::::::\n", "root:*:2::::::\nnew:!:1::::::\n", "root:*:1::::::\nme:$6$x$y:1::::::\n"),
	"etc/gshadow": three("root:*::\n", "root:*::\nnew:!::\n", "root:*::\nme:!::\n"),
	"etc/subuid":  three("", "new:100000:65536\n", "me:100000:65536\n"),

	"var/lib/dpkg/status": three(
		stanza("dpkg", "1")+stanza("a", "1"), stanza("dpkg", "2")+stanza("a", "2"), stanza("dpkg", "1")+stanza("a", "1")+stanza("mine", "1"),
	),
	"var/lib/dpkg/info/a.list":                      three("/.\n/usr/bin/a\n/etc/conf\n", "/.\n/usr/bin/a\n/usr/bin/a2\n/etc/conf\n", "/.\n/usr/bin/a\n/etc/conf\n"),
	"var/lib/dpkg/info/a.md5sums":                   three("0123456789abcdef0123456789abcdef  usr/bin/a\n", "1123456789abcdef0123456789abcdef  usr/bin/a\n", "2123456789abcdef0123456789abcdef  usr/bin/a\n"),
	"var/lib/dpkg/info/mine.list":                   three("", "", "/.\n/usr/bin/mine\n"),
	"var/lib/dpkg/diversions":                       three("/a\n/a.d\n:\n", "/a\n/a.d\n:\n/b\n/b.d\n:\n", "/a\n/a.d\n:\n/c\n/c.d\n:\n"),
	"var/lib/dpkg/statoverride":                     three("root root 644 /a\n", "root root 600 /a\n", "root root 644 /a\nroot root 4755 /c\n"),
	"var/lib/dpkg/alternatives/vi":                  three("auto\n/usr/bin/vi\n\n/usr/bin/v1\n10\n\n", "auto\n/usr/bin/vi\n\n/usr/bin/v2\n20\n\n", "manual\n/usr/bin/vi\n\n/usr/bin/v1\n10\n/usr/bin/v3\n5\n\n"),
	"var/lib/dpkg/triggers/File":                    lines("triggers"),
	"var/lib/apt/extended_states":                   three("Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\n", "Package: b\nArchitecture: amd64\nAuto-Installed: 1\n\n", "Package: c\nArchitecture: amd64\nAuto-Installed: 1\n\n"),
	"lib/apk/db/installed":                          three("P:x\nV:1\nF:usr/bin\nR:x\n\n", "P:x\nV:2\nF:usr/bin\nR:x\n\n", "P:x\nV:1\nF:usr/bin\nR:x\n\nP:y\nV:1\nF:usr/bin\nR:y\n\n"),
	"lib/apk/db/scripts.tar":                        three("", "", ""),
	"lib/apk/db/triggers":                           three("", "1\n", "2\n"),
	"etc/apk/world":                                 three("x\n", "x\nz\n", "x\ny\n"),
	"var/lib/rpm/rpmdb.sqlite":                      three("SQLite\x001", "SQLite\x001", "SQLite\x003"),
	"etc/alternatives/README":                       lines("alternatives"),
	"etc/machine-id":                                three("", "11111111111111111111111111111111\n", "22222222222222222222222222222222\n"),
	"etc/os-release":                                three("ID=debian\nVERSION_ID=12\n", "ID=debian\nVERSION_ID=13\n", "ID=debian\nVERSION_ID=12\nX=1\n"),
	"etc/ld.so.conf":                                three("include /etc/ld.so.conf.d/*.conf\n", "include /etc/ld.so.conf.d/*.conf\n/usr/lib\n", "include /etc/ld.so.conf.d/*.conf\n/opt/lib\n"),
	"etc/ld.so.conf.d/x.conf":                       three("/lib/x\n", "/lib/y\n", "/lib/x\n/lib/z\n"),
	"etc/ld.so.cache":                               bodies("glibc-ld.so.cache1.1"),
	"etc/ssl/certs/ca-certificates.crt":             bodies("-----BEGIN CERTIFICATE-----\n"),
	"etc/ca-certificates.conf":                      three("a.crt\n", "a.crt\nb.crt\n", "a.crt\n!c.crt\n"),
	"usr/share/ca-certificates/a.crt":               bodies("-----BEGIN CERTIFICATE-----\n"),
	"usr/local/share/ca-certificates/u.crt":         three("", "", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
	"etc/systemd/system/x.service":                  lines("unit"),
	"usr/lib/systemd/system/y.service":              lines("unit"),
	"etc/conf":                                      lines("conf"),
	"etc/conf.molt-new":                             three("", "", "a=9\n"),
	"etc/clash":                                     three("1\n", "2\n", "3\n"),
	"var/lib/molt/beside/new/etc/conf":              three("", "", "a=9\n"),
	"var/lib/molt/beside/old/etc/clash":             three("", "", "9\n"),
	"etc/clash.molt-old":                            three("", "", "9\n"),
	"etc/x.json":                                    three(`{"a": 1}`, `{"a": 1, "b": 2}`, `{"a": 1, "c": 3}`),
	"etc/x.yaml":                                    three("a: 1\n", "a: 1\nb: 2\n", "a: 1\nc: 3\n"),
	"etc/x.toml":                                    three("a = 1\n", "a = 1\nb = 2\n", "a = 1\nc = 3\n"),
	"etc/default/x":                                 lines("assignments"),
	"etc/hosts":                                     lines("hosts"),
	"etc/ssh/ssh_host_rsa_key":                      three("old key\n", "new key\n", "my key\n"),
	"var/lib/app/db.sqlite":                         three("SQLite format 3\x001", "SQLite format 3\x002", "SQLite format 3\x003"),
	"var/lib/app/db.sqlite-wal":                     three("1", "2", "3"),
	"usr/bin/a":                                     bodies("\x7fELF\x02\x01\x01"),
	"usr/bin/mine":                                  three("", "", "\x7fELF\x02\x01\x01mine"),
	"usr/lib/python3/x.py":                          three("1\n", "22\n", "1\n"),
	"usr/lib/python3/__pycache__/x.cpython-311.pyc": bodies("\xa7\x0d\x0d\x0a\x00\x00\x00\x00"),
	"usr/lib/locale/locale-archive":                 bodies("x"),
	"etc/apt/sources.list":                          three("deb http://a x main\n", "", "deb http://b x main\n"),
	"etc/apt/sources.list.d/x.sources": three(
		"", "Types: deb\nURIs: http://a\nSuites: y\nComponents: main\n", "",
	),
	"etc/apk/repositories":                               three("http://a/v1/main\n", "http://a/v2/main\n", "http://b/v1/main\n"),
	"usr/share/molt/renames.d/x":                         three("", "/etc/default/x a -> b\n", ""),
	"usr/lib/python3/dist-packages/p-1.dist-info/RECORD": bodies("p/__init__.py,,\n"),
	"usr/lib/python3/dist-packages/p-1.dist-info/METADATA": three(
		"Name: p\nVersion: 1\n", "Name: p\nVersion: 1\n", "Name: p\nVersion: 1\n",
	),
	"usr/lib/python3/dist-packages/p/__init__.py":   lines("python"),
	"usr/local/lib/node_modules/n/package.json":     three(`{"version": "1"}`, `{"version": "2"}`, `{"version": "3"}`),
	"srv/node_modules/.package-lock.json":           three(`{"a": 1}`, `{"a": 2}`, `{"a": 3}`),
	"var/lib/postgresql/15/main/PG_VERSION":         three("", "", "15\n"),
	"var/lib/gems/3.1.0/specifications/g-1.gemspec": three("1\n", "2\n", "3\n"),
	"srv/repo/.git/HEAD":                            three("ref: a\n", "ref: b\n", "ref: c\n"),
	"etc/shells":                                    three("/bin/sh\n", "/bin/sh\n/bin/dash\n", "/bin/sh\n/bin/zsh\n"),
}

// build writes the system as one side has it; what is empty there is not there, but for files that may be empty.
func build(t *testing.T, root string, side int) {
	t.Helper()
	for name, content := range system {
		if content[side] == "" && name != "etc/machine-id" {
			continue
		}
		put(t, root, name, content[side], 0o644)
	}
}
