// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// The suffixes of what is put beside a path.
const (
	besideSuffix = ".molt-new" // the new base's version, where the user's stays
	asideSuffix  = ".molt-old" // the user's version, where the new base's stands
)

// beside returns the name with a suffix, in the same directory; of a long name only the beginning, so that a number has room,
// too.
func beside(p, suffix string) string {
	const maxName, number = 255, 8
	dir, name := path.Split(p)
	if room := maxName - number - len(suffix); len(name) > room {
		name = name[:room]
		for utf8.ValidString(p) && !utf8.ValidString(name) {
			name = name[:len(name)-1] // not in the middle of a character
		}
	}
	return dir + name + suffix
}

// The kinds of paths. An entry that ends with a slash stands for everything below, one with a pattern character for
// what matches it, any other for itself and everything below.
var (
	// dataPaths hold the user's data, or what may be lost at any time: a conflict there leaves no file beside.
	dataPaths = pathTable{
		"home", "root", "run", "srv", "tmp", "var/backups", "var/cache", "var/lib/apt/lists", "var/log", "var/mail", "var/spool",
		"var/tmp", "var/lib/dpkg/available", "var/lib/dpkg/available-old", "var/lib/dpkg/status-old",
		"var/lib/dpkg/diversions-old", "var/lib/dpkg/statoverride-old", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend",
		"var/lib/dpkg/triggers/Lock", "var/lib/dpkg/cmethopt", "lib/apk/db/lock", "usr/lib/apk/db/lock", "etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-",
		"etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
	}
	// configPaths are kept when the new base does not have them any more and the user changed them.
	configPaths = pathTable{"etc", "usr/local", "opt", "boot"}
	// runtimePaths are mounted over by whoever runs the container; what is below is an empty stub.
	runtimePaths = pathTable{"etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/", "proc/", "sys/", ".dockerenv"}
	// identityPaths make an instance what it is.
	identityPaths = pathTable{
		"etc/machine-id", "etc/hostname", "etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub", "var/lib/dbus/machine-id",
		"var/lib/dhcp/*.duid", "var/lib/dhcpcd/duid", "etc/dhcpcd.duid", "var/lib/NetworkManager/secret_key", "var/lib/systemd/random-seed",
		"var/lib/urandom/random-seed", "var/lib/random-seed", "etc/hostid", "etc/iscsi/initiatorname.iscsi",
	}
)

// pathTable is a set of paths.
type pathTable []string

// has tells whether a path is in the table.
func (t pathTable) has(p string) bool {
	return slices.ContainsFunc(t, func(entry string) bool {
		switch {
		case strings.HasSuffix(entry, "/"):
			return strings.HasPrefix(p, entry)
		case strings.ContainsAny(entry, "*?["):
			return matches(entry, p)
		default:
			return within(p, entry)
		}
	})
}

// matches a path with a pattern; one without a slash matches names in any directory.
func matches(pattern, p string) bool {
	if !strings.Contains(pattern, "/") {
		p = path.Base(p)
	}
	ok, err := path.Match(pattern, p)
	return err == nil && ok
}

// within tells whether a path is a directory or below it.
func within(p, dir string) bool {
	return dir == "." || p == dir || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// cut splits a path after its first name.
func cut(p string) (first, rest string, more bool) { return strings.Cut(p, "/") }

// trimRoot makes an absolute path relative to the root.
func trimRoot(p string) string {
	p = strings.TrimLeft(path.Clean(p), "/")
	if p == "" {
		return "."
	}
	return p
}

// possiblePath tells whether a path that a database names could be one below the root.
func possiblePath(p string) bool {
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." || name == ".." || len(name) > 255 || strings.IndexByte(name, 0) >= 0 {
			return false
		}
	}
	return true
}

// possibleTarget tells whether a symbolic link could have a target, or whether there is none.
func possibleTarget(target string) bool {
	return len(target) < 4096 && strings.IndexByte(target, 0) < 0
}
